// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which network interfaces can be carried, and what of the host's network stays behind.  Everything
 * about interfaces comes from sysfs, so that it works on a recorded tree too.
 */
#include <dirent.h>
#include <fcntl.h>
#include <linux/net_namespace.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev-link.h"
#include "state-serializers/netdev.h"
#include "state-serializers/netfilter.h"

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
	if (!sysroot || !*sysroot) {
		_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;

		ret = kho_nl_open(&nl, err);
		if (!ret)
			ret = kho_netdev_find_virtual(&nl, cfg, err);
		if (ret < 0) {
			kho__netdev__free_unpacked(cfg, NULL);
			return ret;
		}
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

/* What it is a port of: its name into master. */
static bool has_master(const char *sysroot, const char *name, char master[IF_NAMESIZE])
{
	char p[128], target[PATH_MAX];

	snprintf(p, sizeof(p), "/sys/class/net/%s/master", name);
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, p);
	ssize_t len = path ? readlink(path, target, sizeof(target) - 1) : -1;

	target[len > 0 ? len : 0] = '\0';
	snprintf(master, IF_NAMESIZE, "%s", strrchr(target, '/') ? strrchr(target, '/') + 1 : target);
	return len > 0;
}

static const Kho__NetLink *carried(const Kho__Netdev *cfg, const char *name)
{
	for (size_t i = 0; i < cfg->n_link; i++)
		if (!strcmp(cfg->link[i]->name, name))
			return cfg->link[i];
	return NULL;
}

static int probe_pci(const char *sysroot, const Kho__Netdev *cfg, const char *name, const char *pci, bool live, struct kho_report *r)
{
	char subject[64], master[IF_NAMESIZE], kind[16] = "";
	bool clsact = false, filters = false;

	snprintf(subject, sizeof(subject), "%s %s", name, pci);
	if (live && has_master(sysroot, name, master) && !carried(cfg, master))
		return kho_report_add(r, KHO_V_NO, "device", subject, "put the addresses on the interface itself",
				      "it is a port of %s, which is of a kind that is not carried", master);
	if (live) {
		_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
		struct kho_err e = KHO_ERR_INIT;

		if (kho_nl_open(&nl, &e) < 0 || kho_root_qdisc(&nl, if_nametoindex(name), kind, &clsact, &e) < 0)
			return kho_report_add(r, KHO_V_UNKNOWN, "device", subject, NULL, "%s", e.msg);
		filters = kho_qdisc_has_filters(&nl, (int)if_nametoindex(name));
	}
	if (*kind && !kho_qdisc_is_carried(kind))
		return kho_report_add(r, KHO_V_NO, "device", subject, "tc qdisc del root, and add it again afterwards",
				      "its queueing discipline %s is not carried", kind);
	if (!is_virtio_net(sysroot, name))
		return kho_report_add(r, KHO_V_UNKNOWN, "device", subject, NULL,
				      "its driver has not been tried with a hand-over");
	if (filters)
		return kho_report_add(r, KHO_V_LOSS, "device", subject, "tc filter add, afterwards", "moves without its traffic control filters");
	return kho_report_add(r, KHO_V_OK, "device", subject, NULL, "moves with addresses, routes and neighbours%s%s",
			      *kind ? ", and its queueing discipline " : "", kind);
}

static int on_number(const struct nlmsghdr *nlh, void *data)
{
	bool link = nlh->nlmsg_type == RTM_NEWLINK;
	const struct nlattr *a;

	mnl_attr_for_each(a, nlh, link ? sizeof(struct ifinfomsg) : sizeof(struct rtgenmsg))
		if (mnl_attr_get_type(a) == (link ? IFLA_LINK_NETNSID : NETNSA_NSID) && mnl_attr_get_payload_len(a) >= 4)
			*(int32_t *)data = (int32_t)mnl_attr_get_u32(a);
	return MNL_CB_OK;
}

/* Our number of the network namespace that the other end of an interface is in; negative: none. */
static int32_t netns_of_peer(struct kho_nl *nl, const char *name)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
	int32_t ret = -1;

	((struct ifinfomsg *)mnl_nlmsg_get_payload(nlh))->ifi_index = (int)if_nametoindex(name);
	return kho_nl_dump(nl, nlh, on_number, &ret, NULL, "look at the other end") ? -1 : ret;
}

/* Of the one that a process is in. */
static int32_t netns_of_process(struct kho_nl *nl, pid_t pid)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_GETNSID, 0, sizeof(struct rtgenmsg));
	int32_t ret = -1;

	mnl_attr_put_u32(nlh, NETNSA_PID, (uint32_t)pid);
	return kho_nl_dump(nl, nlh, on_number, &ret, NULL, "look at its network") ? -1 : ret;
}

/* The carried container that an interface leads to: its name, or NULL. */
static const char *container_behind(const struct kho_env *env, const char *name)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	int32_t netns = kho_nl_open(&nl, NULL) ? -1 : netns_of_peer(&nl, name);

	for (size_t i = 0; netns >= 0 && env->workloads && i < env->workloads->n; i++) {
		const struct kho_workload *w = &env->workloads->w[i];

		if (w->container && w->root > 0 && netns_of_process(&nl, w->root) == netns)
			return w->container;
	}
	return NULL;
}

static int probe_virtual(const struct kho_env *env, const Kho__Netdev *cfg, const char *name, bool is_up, bool live, struct kho_report *r)
{
	const Kho__NetLink *l = carried(cfg, name);
	const char *why = l ? kho_link_refused(l) : NULL;
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	char qdisc[16] = "";
	bool clsact;

	if (why)
		return kho_report_add(r, KHO_V_NO, "device", name, NULL, "%s: %s", l->kind, why);
	if (l && kho_nl_open(&nl, NULL) == 0 && !kho_root_qdisc(&nl, (int)if_nametoindex(name), qdisc, &clsact, NULL) && *qdisc &&
	    !kho_qdisc_is_carried(qdisc))
		return kho_report_add(r, KHO_V_LOSS, "device", name, "tc qdisc add, afterwards", "%s: moves without its queueing discipline %s",
				      l->kind, qdisc);
	if (l)
		return kho_report_add(r, KHO_V_OK, "device", name, NULL, "%s: moves", l->kind);
	if (!is_up)
		return 0;
	const char *container = live ? container_behind(env, name) : NULL;

	if (container)
		return kho_report_add(r, KHO_V_OK, "device", name, NULL, "veth: moves with container %s", container);
	return kho_report_add(r, live ? KHO_V_LOSS : KHO_V_UNKNOWN, "device", name, NULL,
			      live ? "virtual interface of a kind that is not carried" : "virtual interface: its kind is not recorded");
}

static int probe_one(struct kho_env *env, const Kho__Netdev *cfg, const char *name, bool live, struct kho_report *r)
{
	unsigned long flags = sysfs_number(env->sysroot, name, "flags");
	char path[PATH_MAX], pci[KHO_PCI_LEN];

	snprintf(path, sizeof(path), "/sys/class/net/%s/device", name);
	/* flags is 0 for bonding_masters and the like, which are no interfaces */
	if (name[0] == '.' || !flags || (flags & IFF_LOOPBACK))
		return 0;
	if (kho_pci_of_sysfs(env->sysroot, path, pci) != 0)
		return probe_virtual(env, cfg, name, flags & IFF_UP, live, r);
	if (flags & IFF_UP) {
		r->facts[KHO_FACT_FUNCTIONS]++;
		return probe_pci(env->sysroot, cfg, name, pci, live, r);
	}
	return kho_report_add(r, KHO_V_LOSS, "device", name, NULL, "is down: its configuration is not carried");
}

/* A route over several interfaces, of which some stay behind: that of the interface itself says nothing of it. */
static int probe_routes(Kho__Netdev *cfg, struct kho_report *r)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	struct kho_err why = KHO_ERR_INIT;
	size_t cut;

	if (kho_nl_open(&nl, &why) < 0 || kho_netdev_read(&nl, cfg, false, &why) < 0)
		return kho_report_add(r, KHO_V_UNKNOWN, "device", "routes", NULL, "%s", why.msg);
	cut = kho_netdev_cut_routes(cfg);
	return cut ? kho_report_add(r, KHO_V_LOSS, "device", "routes", "ip route replace, afterwards",
				    "%zu multipath routes lose the nexthops over interfaces that are not carried", cut)
		   : 0;
}

int kho_netdev_probe(struct kho_env *env, struct kho_report *r, struct kho_err *err)
{
	bool live = !env->sysroot || !*env->sysroot;
	struct dirent **e = NULL;
	Kho__Netdev *cfg;
	int n, ret = kho_netdev_find(live ? "" : env->sysroot, &cfg, err);

	if (ret < 0)
		return ret;
	n = scan_net(env->sysroot, &e, err);
	for (int i = 0; !ret && i < n; i++)
		ret = probe_one(env, cfg, e[i]->d_name, live, r);
	if (!ret)
		ret = kho_netdev_ifupdown_probe(cfg, live ? "" : env->sysroot, r);
	if (!ret && live)
		ret = probe_routes(cfg, r);
	kho__netdev__free_unpacked(cfg, NULL);
	if (n < 0)
		return n;
	free_entries(e, n);
	if (ret)
		return kho_fail(err, ret, "report: out of memory");
	return live ? kho_netfilter_probe(r, err) : 0;
}
