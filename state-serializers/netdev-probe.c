// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which network interfaces can be carried, and what of the host's network stays behind.  Everything
 * about interfaces comes from sysfs, so that it works on a recorded tree too.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev.h"

static unsigned long sysfs_number(const char *sysroot, const char *name, const char *attr)
{
	_cleanup_free_ char *text = NULL, *path = NULL;
	char p[128];

	snprintf(p, sizeof(p), "/sys/class/net/%s/%s", name, attr);
	path = kho_sysroot_path(sysroot, p);
	if (!path || kho_read_line(path, &text, NULL) < 0)
		return 0;
	return strtoul(text, NULL, 0);
}

static Kho__NetLink *add_link(Kho__Netdev *cfg, const char *name, const char *pci)
{
	Kho__NetLink *l = malloc(sizeof(*l));

	if (!l)
		return NULL;
	kho__net_link__init(l);
	if (kho_pb_set(&l->name, name) || kho_pb_set(&l->pci, pci) || kho_pb_append(&cfg->link, &cfg->n_link, l)) {
		kho__net_link__free_unpacked(l, NULL);
		return NULL;
	}
	return l;
}

static int name_cmp(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int scan_net(const char *sysroot, struct dirent ***out, struct kho_err *err)
{
	_cleanup_free_ char *dir = kho_sysroot_path(sysroot, "/sys/class/net");
	int n = dir ? scandir(dir, out, NULL, name_cmp) : -1;

	return n < 0 ? kho_fail_errno(err, "list network interfaces") : n;
}

static void free_entries(struct dirent **e, int n)
{
	for (int i = 0; i < n; i++)
		free(e[i]);
	free(e);
}

int kho_netdev_find(const char *sysroot, Kho__Netdev **out, struct kho_err *err)
{
	struct dirent **e = NULL;
	int n = scan_net(sysroot, &e, err), ret = 0;

	if (n < 0)
		return n;
	Kho__Netdev *cfg = malloc(sizeof(*cfg));

	if (!cfg) {
		free_entries(e, n);
		return kho_fail(err, -ENOMEM, "list network interfaces: out of memory");
	}
	kho__netdev__init(cfg);
	if (!add_link(cfg, "lo", ""))
		ret = -ENOMEM;
	for (int i = 0; !ret && i < n; i++) {
		char path[PATH_MAX], pci[KHO_PCI_LEN];

		snprintf(path, sizeof(path), "/sys/class/net/%s/device", e[i]->d_name);
		if (e[i]->d_name[0] == '.' || !(sysfs_number(sysroot, e[i]->d_name, "flags") & IFF_UP) ||
		    kho_pci_of_sysfs(sysroot, path, pci) < 0)
			continue;
		Kho__NetLink *l = add_link(cfg, e[i]->d_name, pci);

		ret = l ? kho_driver_modules(sysroot, path, &l->modules, &l->n_modules) : -ENOMEM;
	}
	free_entries(e, n);
	if (ret < 0) {
		kho__netdev__free_unpacked(cfg, NULL);
		return kho_fail(err, ret, "list network interfaces: %s", strerror(-ret));
	}
	*out = cfg;
	return 0;
}

static bool is_virtio_net(const char *sysroot, const char *name)
{
	char p[128], target[PATH_MAX];
	_cleanup_free_ char *path = NULL;

	snprintf(p, sizeof(p), "/sys/class/net/%s/device/driver", name);
	path = kho_sysroot_path(sysroot, p);
	ssize_t len = path ? readlink(path, target, sizeof(target) - 1) : -1;

	if (len < 0)
		return false;
	target[len] = '\0';
	return !strcmp(strrchr(target, '/') ? strrchr(target, '/') + 1 : target, "virtio_net");
}

/* An interface on top (VLAN, bond, bridge ...): its name into upper. */
static bool has_upper(const char *sysroot, const char *name, char upper[NAME_MAX + 1])
{
	char p[128];

	snprintf(p, sizeof(p), "/sys/class/net/%s", name);
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, p);
	_cleanup_closedir_ DIR *d = path ? opendir(path) : NULL;

	for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
		if (!strncmp(e->d_name, "upper_", 6) || !strcmp(e->d_name, "master")) {
			snprintf(upper, NAME_MAX + 1, "%s", e->d_name + (e->d_name[0] == 'u' ? 6 : 0));
			return true;
		}
	}
	return false;
}

static int probe_pci(const char *sysroot, const char *name, const char *pci, bool live, struct kho_report *r)
{
	char subject[64], upper[NAME_MAX + 1], kind[16] = "";
	bool clsact = false;

	snprintf(subject, sizeof(subject), "%s %s", name, pci);
	if (has_upper(sysroot, name, upper))
		return kho_report_add(r, KHO_V_NO, "device", subject, "put the addresses on the interface itself",
				      "%s is stacked on it, and stacked interfaces are not carried", upper);
	if (live) {
		_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
		struct kho_err e = KHO_ERR_INIT;

		if (kho_nl_open(&nl, &e) < 0 || kho_root_qdisc(&nl, if_nametoindex(name), kind, &clsact, &e) < 0)
			return kho_report_add(r, KHO_V_UNKNOWN, "device", subject, NULL, "%s", e.msg);
	}
	if (*kind)
		return kho_report_add(r, KHO_V_NO, "device", subject, "tc qdisc del root, and add it again afterwards",
				      "its queueing discipline %s is not carried", kind);
	if (!is_virtio_net(sysroot, name))
		return kho_report_add(r, KHO_V_UNKNOWN, "device", subject, NULL,
				      "its driver has not been tried with a hand-over");
	return kho_report_add(r, KHO_V_OK, "device", subject, NULL, "moves with addresses, routes and neighbours");
}

static int on_table(const struct nlmsghdr *nlh, void *data)
{
	(void)nlh;
	++*(unsigned *)data;
	return MNL_CB_OK;
}

/* Number of nftables tables, 0 when there is no nftables. */
static unsigned count_nft_tables(void)
{
	char buf[8192];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct mnl_socket *s = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);
	unsigned n = 0;

	nlh->nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = 1;
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct nfgenmsg));
	if (!s)
		return 0;
	if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) == 0 && mnl_socket_sendto(s, nlh, nlh->nlmsg_len) > 0) {
		ssize_t got;

		do
			got = mnl_socket_recvfrom(s, buf, sizeof(buf));
		while (got > 0 && mnl_cb_run(buf, got, 1, mnl_socket_get_portid(s), on_table, &n) > 0);
	}
	mnl_socket_close(s);
	return n;
}

int kho_netdev_probe(struct kho_env *env, struct kho_report *r, struct kho_err *err)
{
	bool live = !env->sysroot || !*env->sysroot;
	struct dirent **e = NULL;
	int n = scan_net(env->sysroot, &e, err), ret = 0;
	unsigned tables;

	for (int i = 0; !ret && i < n; i++) {
		const char *name = e[i]->d_name;
		char path[PATH_MAX], pci[KHO_PCI_LEN];
		unsigned long flags = sysfs_number(env->sysroot, name, "flags");

		snprintf(path, sizeof(path), "/sys/class/net/%s/device", name);
		/* flags is 0 for bonding_masters and the like, which are no interfaces */
		if (name[0] == '.' || !flags || (flags & IFF_LOOPBACK))
			continue;
		bool is_pci = kho_pci_of_sysfs(env->sysroot, path, pci) == 0;

		r->facts[KHO_FACT_FUNCTIONS] += is_pci && (flags & IFF_UP);
		if (is_pci && (flags & IFF_UP))
			ret = probe_pci(env->sysroot, name, pci, live, r);
		else if (is_pci)
			ret = kho_report_add(r, KHO_V_LOSS, "device", name, NULL, "is down: its configuration is not carried");
		else if (flags & IFF_UP)
			ret = kho_report_add(r, KHO_V_LOSS, "device", name, NULL, "virtual interface: not carried");
	}
	if (n >= 0)
		free_entries(e, n);
	tables = live && !ret && n >= 0 ? count_nft_tables() : 0;
	if (tables)
		ret = kho_report_add(r, KHO_V_LOSS, "network", "firewall", "load the rules again with the after-commit command",
				     "%u nftables table(s) are not carried", tables);
	if (n < 0)
		return n;
	return ret ? kho_fail(err, ret, "report: out of memory") : 0;
}
