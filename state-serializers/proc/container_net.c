// SPDX-License-Identifier: GPL-2.0-only
/*
 * Making a container's network namespace again.
 */
#include "state-serializers/proc/container_net.h"

#include <fcntl.h>
#include <linux/veth.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev-link.h"

#define NETNS_DIR "/run/netns"

struct visit {
	int fd, rc;
	int (*fn)(void *arg, struct kho_err *err);
	void *arg;
	struct kho_err err;
};

static void *visit_thread(void *arg)
{
	struct visit *v = arg;

	if (v->fd < 0 ? unshare(CLONE_NEWNET) : setns(v->fd, CLONE_NEWNET))
		v->rc = kho_fail_errno(&v->err, "enter a network namespace");
	else
		v->rc = v->fn(v->arg, &v->err);
	return NULL;
}

int kho_in_netns(int fd, int (*fn)(void *arg, struct kho_err *err), void *arg, struct kho_err *err)
{
	struct visit v = { .fd = fd, .fn = fn, .arg = arg, .err = KHO_ERR_INIT };
	pthread_t t;
	int rc = pthread_create(&t, NULL, visit_thread, &v);

	if (rc)
		return kho_fail(err, -rc, "enter a network namespace: thread");
	pthread_join(t, NULL);
	if (v.rc < 0 && err)
		*err = v.err;
	return v.rc;
}

/* Where podman looks for them: mounted on itself, and shared, so that a mount made by one is seen by all. */
static int make_dir(struct kho_err *err)
{
	int rc = kho_make_dirs(NETNS_DIR, 0755, err);

	if (rc || kho_is_mount_point(NETNS_DIR))
		return rc;
	if (mount(NETNS_DIR, NETNS_DIR, NULL, MS_BIND | MS_REC, NULL) || mount(NULL, NETNS_DIR, NULL, MS_SHARED | MS_REC, NULL))
		return kho_fail_errno(err, "make %s a mount", NETNS_DIR);
	return 0;
}

/* In the new namespace, which lives on by the mount. */
static int keep(void *arg, struct kho_err *err)
{
	const KhoProc__ContainerNet *n = arg;
	_cleanup_close_ int fd = open(n->path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);

	if (fd < 0)
		return kho_fail_errno(err, "make %s", n->path);
	if (mount("/proc/thread-self/ns/net", n->path, NULL, MS_BIND, NULL))
		return kho_fail_errno(err, "mount %s", n->path);
	return 0;
}

/*
 * Both ends in one request, from the inside: an index can be given to the end that is made here, and the other one is put into
 * the namespace `outside`.
 */
static int make_pair(struct kho_nl *nl, const KhoProc__VethPeer *p, const Kho__NetLink *l, int outside, struct kho_err *err)
{
	struct nlmsghdr *nlh = kho_nl_request(nl, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, sizeof(struct ifinfomsg));
	struct nlattr *info, *data, *peer;

	((struct ifinfomsg *)mnl_nlmsg_get_payload(nlh))->ifi_index = (int)l->index;
	mnl_attr_put_strz(nlh, IFLA_IFNAME, l->name);
	if (l->mac.len)
		mnl_attr_put(nlh, IFLA_ADDRESS, l->mac.len, l->mac.data);
	mnl_attr_put_u32(nlh, IFLA_MTU, l->mtu);
	info = mnl_attr_nest_start(nlh, IFLA_LINKINFO);
	mnl_attr_put_strz(nlh, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(nlh, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(nlh, VETH_INFO_PEER);
	mnl_nlmsg_put_extra_header(nlh, sizeof(struct ifinfomsg));
	mnl_attr_put_strz(nlh, IFLA_IFNAME, p->name);
	if (p->mac.len)
		mnl_attr_put(nlh, IFLA_ADDRESS, p->mac.len, p->mac.data);
	mnl_attr_put_u32(nlh, IFLA_MTU, p->mtu);
	mnl_attr_put_u32(nlh, IFLA_NET_NS_FD, (uint32_t)outside);
	mnl_attr_nest_end(nlh, peer);
	mnl_attr_nest_end(nlh, data);
	mnl_attr_nest_end(nlh, info);
	return kho_nl_do(nl, nlh, err, "make %s and its other end %s", l->name, p->name);
}

static void apply_settings(const KhoProc__ContainerNet *n)
{
	char path[256];

	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < n->n_sysctl; i++) {
			if (kho_sysctl_goes_first(n->sysctl[i]->key) != !pass || strstr(n->sysctl[i]->key, ".."))
				continue;
			snprintf(path, sizeof(path), "/proc/sys/net/%s", n->sysctl[i]->key);
			(void)!kho_write_existing(path, n->sysctl[i]->value, NULL); /* one that this kernel does not have */
		}
}

struct inner {
	const KhoProc__ContainerNet *n;
	const Kho__Netdev *cfg;
	int outside; /* the system's namespace */
};

/* In the namespace: its links with what they have, and the routes. They have no carrier before the outer ends are up. */
static int fill(void *arg, struct kho_err *err)
{
	const struct inner *in = arg;
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	_cleanup_free_ int *index = calloc(in->cfg->n_link + 1, sizeof(*index));
	int rc = index ? kho_nl_open(&nl, err) : kho_fail(err, -ENOMEM, "out of memory");

	if (!rc)
		apply_settings(in->n);
	for (size_t i = 0; !rc && i < in->cfg->n_link; i++) {
		const Kho__NetLink *l = in->cfg->link[i];

		if (*in->n->peer[i]->name)
			rc = make_pair(&nl, in->n->peer[i], l, in->outside, err);
		if (rc)
			return rc;
		index[i] = (int)if_nametoindex(l->name);
		if (!index[i])
			return kho_fail(err, -ENODEV, "%s is not there", l->name);
		rc = kho_netdev_apply_link(&nl, l, index[i], err);
		if (!rc)
			rc = kho_netdev_apply_up(&nl, l, index[i], err);
		kho_netdev_addrgen(l->name, true, l);
	}
	return rc ? rc : kho_netdev_apply_routes(&nl, in->cfg, index, err);
}

static void netdevp(Kho__Netdev **p)
{
	if (*p)
		kho__netdev__free_unpacked(*p, NULL);
}

static int make(const KhoProc__ContainerNet *n, struct kho_err *err)
{
	struct kho_blob b = { .data = n->config.data, .len = n->config.len };
	_cleanup_(netdevp) Kho__Netdev *cfg = kho_pb_unpack(&kho__netdev__descriptor, &b, err);
	_cleanup_close_ int outside = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	struct inner in = { n, cfg, outside };
	int rc;

	if (!cfg)
		return -EBADMSG;
	if (outside < 0)
		return kho_fail_errno(err, "open our network namespace");
	if (cfg->n_link != n->n_peer || !kho_path_is_plain(n->path) || strncmp(n->path, NETNS_DIR "/", strlen(NETNS_DIR) + 1))
		return kho_fail(err, -EPROTO, "a network namespace that cannot be");
	rc = make_dir(err);
	if (!rc)
		rc = kho_in_netns(-1, keep, (void *)n, err);
	if (rc)
		return rc;
	_cleanup_close_ int fd = open(n->path, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? kho_fail_errno(err, "open %s", n->path) : kho_in_netns(fd, fill, &in, err);
}

int kho_container_net_make(const KhoProc__ContainerNet *n, struct kho_err *err)
{
	return n->shared ? 0 : make(n, err);
}

void kho_container_net_drop(const KhoProc__ContainerNet *n)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;

	if (n->shared || !kho_path_is_plain(n->path))
		return;
	/* before the namespace goes: that is done in the background */
	for (size_t i = 0; !kho_nl_open(&nl, NULL) && i < n->n_peer; i++) {
		if (*n->peer[i]->name)
			(void)!kho_link_del(&nl, n->peer[i]->name, NULL);
		kho_nl_close(&nl);
	}
	(void)!umount2(n->path, MNT_DETACH | UMOUNT_NOFOLLOW); /* half-made: it may not be there */
	(void)!unlink(n->path);
}

/* As a port that is the netdev serializer's; `here` has what may be its bridge. */
static int connect_one(struct kho_nl *nl, const Kho__Netdev *here, const KhoProc__VethPeer *p, struct kho_err *err)
{
	Kho__NetLink port = KHO__NET_LINK__INIT, *links[] = { &port, NULL };
	int index[] = { (int)if_nametoindex(p->name), 0 }, rc;
	Kho__Netdev pair = KHO__NETDEV__INIT;

	for (size_t i = 0; *p->master && i < here->n_link; i++)
		if (!strcmp(here->link[i]->name, p->master))
			links[1] = here->link[i];
	if (!index[0] || (*p->master && !links[1]))
		return kho_fail(err, -ENODEV, "%s is not there", index[0] ? p->master : p->name);
	port.name = p->name;
	port.port = p->port;
	port.vlan = p->vlan;
	port.n_vlan = p->n_vlan;
	if (links[1]) {
		port.master = links[1]->index;
		index[1] = (int)links[1]->index;
	}
	pair.link = links;
	pair.n_link = links[1] ? 2 : 1;
	rc = kho_netdev_enslave(nl, &pair, 0, index, err);
	/* not known of a port whose state is not: then it is in the VLAN that its bridge has for new ones */
	if (!rc && p->port.len)
		rc = kho_netdev_apply_ports(nl, &pair, 0, index, err);
	/* last: nobody hears it in a VLAN that it is not in */
	return rc ? rc : kho_link_set(nl, index[0], p->up ? IFF_UP : 0, IFF_UP, err);
}

static void links_free(Kho__Netdev *cfg)
{
	for (size_t i = 0; i < cfg->n_link; i++)
		kho__net_link__free_unpacked(cfg->link[i], NULL);
	free(cfg->link);
}

int kho_container_net_connect(const KhoProc__ContainerNet *n, struct kho_err *err)
{
	_cleanup_(links_free) Kho__Netdev here = KHO__NETDEV__INIT;
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	int rc = kho_nl_open(&nl, err);

	if (!rc)
		rc = kho_netdev_find_virtual(&nl, &here, err);
	for (size_t i = 0; !rc && i < n->n_peer; i++)
		if (*n->peer[i]->name)
			rc = connect_one(&nl, &here, n->peer[i], err);
	return rc;
}
