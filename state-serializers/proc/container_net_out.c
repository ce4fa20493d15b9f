// SPDX-License-Identifier: GPL-2.0-only
/*
 * What is in the network namespace of a container, and where the other ends of its links are.
 */
#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"
#include "lib/pod.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev-link.h"
#include "state-serializers/proc/container_net.h"
#include "state-serializers/proc/place.h"

#define SYSCTLS	 "/proc/sys/net"
#define DEEP	 6
#define SETTINGS 4096

char *kho_container_net_path(const char *config, size_t len)
{
	_cleanup_json_ struct json_object *o = NULL;
	struct json_object *list;

	if (kho_json_parse(config, len, &o, NULL))
		return NULL;
	list = kho_json_get(kho_json_get(o, "linux"), "namespaces");
	for (size_t i = 0; json_object_is_type(list, json_type_array) && i < json_object_array_length(list); i++) {
		struct json_object *ns = json_object_array_get_idx(list, i);

		if (json_object_is_type(ns, json_type_object) && !strcmp(kho_json_get_str(ns, "type"), "network") &&
		    *kho_json_get_str(ns, "path"))
			return strdup(kho_json_get_str(ns, "path"));
	}
	return NULL;
}

/* --- links --- */

struct look {
	KhoProc__ContainerNet *n;
	Kho__Netdev *cfg;
	uint32_t *outer; /* index of the other end of cfg->link[i], outside; 0: lo */
	int rc;
	struct kho_err *err;
};

static const struct nlattr *attr(const struct nlmsghdr *nlh, uint16_t type)
{
	const struct nlattr *a;

	mnl_attr_for_each(a, nlh, sizeof(struct ifinfomsg))
		if (mnl_attr_get_type(a) == type)
			return a;
	return NULL;
}

static bool is_veth(const struct nlmsghdr *nlh)
{
	const struct nlattr *info = attr(nlh, IFLA_LINKINFO), *a;

	if (info)
		mnl_attr_for_each_nested(a, info)
			if (mnl_attr_get_type(a) == IFLA_INFO_KIND)
				return !strcmp(mnl_attr_get_str(a), "veth");
	return false;
}

static int add_link(struct look *l, const char *name, uint32_t outer)
{
	Kho__NetLink *link = malloc(sizeof(*link));
	uint32_t *bigger = realloc(l->outer, (l->cfg->n_link + 1) * sizeof(*bigger));

	if (bigger)
		l->outer = bigger;
	if (!link || !bigger) {
		free(link);
		return -ENOMEM;
	}
	kho__net_link__init(link);
	l->outer[l->cfg->n_link] = outer;
	return kho_pb_append(&l->cfg->link, &l->cfg->n_link, link) ?: kho_pb_set(&link->name, name);
}

static int on_inner(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *ifm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *name = attr(nlh, IFLA_IFNAME), *other = attr(nlh, IFLA_LINK);
	bool lo = ifm->ifi_flags & IFF_LOOPBACK;
	struct look *l = data;

	if (!name)
		return MNL_CB_OK;
	if (!lo && (!is_veth(nlh) || !other))
		l->rc = kho_fail(l->err, -ENOTSUP, "%s in its network namespace is no end of a veth pair", mnl_attr_get_str(name));
	else if (add_link(l, mnl_attr_get_str(name), lo ? 0 : mnl_attr_get_u32(other)))
		l->rc = kho_fail(l->err, -ENOMEM, "look at its network: out of memory");
	return l->rc ? MNL_CB_ERROR : MNL_CB_OK;
}

/* In the container's namespace. */
static int look_inside(void *arg, struct kho_err *err)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	struct look *l = arg;
	struct nlmsghdr *nlh;
	int rc = kho_nl_open(&nl, err);

	if (rc)
		return rc;
	l->err = err;
	nlh = kho_nl_request(&nl, RTM_GETLINK, NLM_F_DUMP, sizeof(struct ifinfomsg));
	rc = kho_nl_dump(&nl, nlh, on_inner, l, l->rc ? NULL : err, "list interfaces");
	return l->rc ? l->rc : rc ? rc : kho_netdev_read(&nl, l->cfg, true, err);
}

static int on_outer(const struct nlmsghdr *nlh, void *data)
{
	const struct ifinfomsg *ifm = mnl_nlmsg_get_payload(nlh);
	const struct nlattr *name = attr(nlh, IFLA_IFNAME), *mac = attr(nlh, IFLA_ADDRESS), *mtu = attr(nlh, IFLA_MTU);
	Kho__NetLink l = KHO__NET_LINK__INIT;
	KhoProc__VethPeer *p = data;
	char bridge[IF_NAMESIZE] = "";

	if (!name || !is_veth(nlh))
		return MNL_CB_OK;
	if (kho_netdev_read_kind(&l, nlh))
		return MNL_CB_ERROR;
	p->port = l.port;
	if (l.master)
		if_indextoname(l.master, bridge);
	p->up = ifm->ifi_flags & IFF_UP;
	p->mtu = mtu ? mnl_attr_get_u32(mtu) : 1500;
	if (mac) {
		p->mac.data = malloc(mnl_attr_get_payload_len(mac) + 1);
		if (!p->mac.data)
			return MNL_CB_ERROR;
		p->mac.len = mnl_attr_get_payload_len(mac);
		memcpy(p->mac.data, mnl_attr_get_payload(mac), p->mac.len);
	}
	return kho_pb_set(&p->name, mnl_attr_get_str(name)) || kho_pb_set(&p->master, bridge) ? MNL_CB_ERROR : MNL_CB_OK;
}

/* What it is in as a port of a bridge. */
static int read_vlans(struct kho_nl *nl, uint32_t index, KhoProc__VethPeer *p, struct kho_err *err)
{
	Kho__NetLink port = KHO__NET_LINK__INIT, *links[] = { &port };
	Kho__Netdev cfg = KHO__NETDEV__INIT;
	int rc = -EINTR;

	port.index = index;
	cfg.link = links;
	cfg.n_link = 1;
	for (int tries = 0; rc == -EINTR && tries < 5; tries++)
		rc = kho_netdev_read_vlans(nl, &cfg, err);
	p->vlan = port.vlan;
	p->n_vlan = port.n_vlan;
	return rc;
}

static int look_outside(struct kho_nl *nl, uint32_t index, KhoProc__ContainerNet *n, struct kho_err *err)
{
	KhoProc__VethPeer *p = malloc(sizeof(*p));
	struct nlmsghdr *nlh;
	int rc;

	if (!p)
		return kho_fail(err, -ENOMEM, "look at its network: out of memory");
	kho_proc__veth_peer__init(p);
	rc = kho_pb_append(&n->peer, &n->n_peer, p);
	if (rc || !index)
		return rc;
	nlh = kho_nl_request(nl, RTM_GETLINK, 0, sizeof(struct ifinfomsg));
	((struct ifinfomsg *)mnl_nlmsg_get_payload(nlh))->ifi_index = (int)index;
	rc = kho_nl_dump(nl, nlh, on_outer, p, err, "look at the other end of a veth pair");
	if (!rc && p->port.len)
		rc = read_vlans(nl, index, p, err);
	return rc ? rc : *p->name ? 0 : kho_fail(err, -ENOTSUP, "the other end of its network is not the system's");
}

/* --- settings --- */

static int add_setting(KhoProc__ContainerNet *n, const char *key, const char *value)
{
	KhoProc__Setting *s = malloc(sizeof(*s));

	if (!s)
		return -ENOMEM;
	kho_proc__setting__init(s);
	return kho_pb_append(&n->sysctl, &n->n_sysctl, s) ?: kho_pb_set(&s->key, key) ?: kho_pb_set(&s->value, value);
}

/* Those of an interface are read with it. */
static bool is_of_link(const char *key)
{
	const char *p = strstr(key, "/conf/");

	if (!p)
		p = strstr(key, "/neigh/");
	p = p ? strchr(p + 1, '/') + 1 : NULL;
	return p && strncmp(p, "all", 3) && strncmp(p, "default", 7);
}

static int walk(KhoProc__ContainerNet *n, const char *key, int deep)
{
	_cleanup_free_ char *path = NULL;
	struct dirent *e;
	int rc = 0;

	if (asprintf(&path, SYSCTLS "%s%s", *key ? "/" : "", key) < 0)
		return -ENOMEM;
	_cleanup_closedir_ DIR *d = opendir(path);

	while (!rc && d && deep < DEEP && n->n_sysctl < SETTINGS && (e = readdir(d))) {
		_cleanup_free_ char *sub = NULL, *file = NULL, *value = NULL;
		struct stat st;

		if (e->d_name[0] == '.')
			continue;
		if (asprintf(&sub, "%s%s%s", key, *key ? "/" : "", e->d_name) < 0 || asprintf(&file, SYSCTLS "/%s", sub) < 0)
			return -ENOMEM;
		if (is_of_link(sub) || stat(file, &st))
			continue;
		if (S_ISDIR(st.st_mode))
			rc = walk(n, sub, deep + 1);
		else if ((st.st_mode & 0600) == 0600 && kho_read_line(file, &value, NULL) >= 0)
			rc = add_setting(n, sub, value);
	}
	return rc;
}

static int read_settings(void *arg, struct kho_err *err)
{
	int rc = walk(arg, "", 0);

	return rc ? kho_fail(err, rc, "read " SYSCTLS ": out of memory") : 0;
}

static bool has(const KhoProc__ContainerNet *n, const KhoProc__Setting *s)
{
	for (size_t i = 0; i < n->n_sysctl; i++)
		if (!strcmp(n->sysctl[i]->key, s->key))
			return !strcmp(n->sysctl[i]->value, s->value);
	return false;
}

/* What another one changes: as a new namespace has it says nothing, when it is written there. */
static bool is_changed_by_others(const char *key)
{
	return !strcmp(key, "ipv4/conf/all/accept_redirects") || !strcmp(key, "ipv4/conf/default/forwarding") ||
	       !strcmp(key, "ipv6/conf/default/forwarding");
}

/* Only what somebody has set. */
static int read_sysctls(int fd, KhoProc__ContainerNet *n, struct kho_err *err)
{
	KhoProc__ContainerNet fresh = KHO_PROC__CONTAINER_NET__INIT;
	int rc = kho_in_netns(fd, read_settings, n, err);
	size_t kept = 0;

	if (!rc)
		rc = kho_in_netns(-1, read_settings, &fresh, err);
	for (size_t i = 0; i < n->n_sysctl; i++) {
		if (!rc && has(&fresh, n->sysctl[i]) && !is_changed_by_others(n->sysctl[i]->key))
			kho_proc__setting__free_unpacked(n->sysctl[i], NULL);
		else
			n->sysctl[kept++] = n->sysctl[i];
	}
	n->n_sysctl = kept;
	for (size_t i = 0; i < fresh.n_sysctl; i++)
		kho_proc__setting__free_unpacked(fresh.sysctl[i], NULL);
	free(fresh.sysctl);
	return rc;
}

/* --- all of it --- */

static int find_path(const KhoProc__Container *c, const char *bundle, KhoProc__ContainerNet *n, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL, *named_as = NULL;
	const char *where;
	char path[PATH_MAX];
	struct stat is, named;
	size_t len = 0;

	snprintf(path, sizeof(path), "/run/crun/%s/config.json", c->id);
	if (c->shim || !kho_exists(path))
		snprintf(path, sizeof(path), "%s/config.json", bundle);
	if (!kho_read_file(path, 4u << 20, &text, &len, NULL))
		named_as = kho_container_net_path(text, len);
	where = named_as && !strncmp(named_as, "/var/run/", 9) ? named_as + 4 : named_as;
	snprintf(path, sizeof(path), "/proc/%d/ns/net", c->root);
	if (!where || strncmp(where, "/run/netns/", 11) || stat(path, &is) || stat(where, &named) || is.st_ino != named.st_ino)
		return kho_fail(err, -ENOTSUP, "its network namespace has no name of its own (%s)", where ? where : "shared with others?");
	n->inode = is.st_ino;
	return kho_pb_set(&n->path, where) ? kho_fail(err, -ENOMEM, "look at its network: out of memory") : 0;
}

static int read_links(int fd, KhoProc__ContainerNet *n, struct kho_err *err)
{
	Kho__Netdev *cfg = malloc(sizeof(*cfg));
	struct look l = { .n = n, .cfg = cfg };
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	struct kho_blob b = { 0 };
	int rc;

	if (!cfg)
		return kho_fail(err, -ENOMEM, "look at its network: out of memory");
	kho__netdev__init(cfg);
	rc = kho_in_netns(fd, look_inside, &l, err);
	if (!rc)
		rc = kho_nl_open(&nl, err);
	for (size_t i = 0; !rc && i < cfg->n_link; i++)
		rc = look_outside(&nl, l.outer[i], n, err);
	if (!rc)
		rc = kho_pb_pack(&cfg->base, &b, err);
	n->config.data = b.data;
	n->config.len = b.len;
	kho__netdev__free_unpacked(cfg, NULL);
	free(l.outer);
	return rc;
}

/* A further container of a pod has the first one's, as a rule. */
static int find_in_pod(const KhoProc__Container *c, KhoProc__ContainerNet *n, struct kho_err *err)
{
	_cleanup_free_ char *first = NULL;
	char id[KHO_CONTAINERD_ID_LEN];
	int rc;

	if (!c->pod || !kho_ns_is_same(c->root, c->pod, "net"))
		return find_path(c, c->bundle, n, err);
	rc = kho_pod_first("", c->monitor, id, err);
	if (rc)
		return rc;
	n->shared = true;
	if (asprintf(&first, "%.*s/%s", (int)(strrchr(c->bundle, '/') - c->bundle), c->bundle, id) < 0)
		return kho_fail(err, -ENOMEM, "look at its network: out of memory");
	return find_path(c, first, n, err);
}

int kho_container_net_read(const KhoProc__Container *c, KhoProc__ContainerNet **out, struct kho_err *err)
{
	KhoProc__ContainerNet *n = malloc(sizeof(*n));
	int rc;

	if (!n)
		return kho_fail(err, -ENOMEM, "look at its network: out of memory");
	kho_proc__container_net__init(n);
	rc = find_in_pod(c, n, err);
	_cleanup_close_ int fd = rc ? -1 : open(n->path, O_RDONLY | O_CLOEXEC);

	if (!rc && fd < 0)
		rc = kho_fail_errno(err, "open %s", n->path);
	if (!rc && !n->shared)
		rc = read_links(fd, n, err);
	if (!rc && !n->shared)
		rc = read_sysctls(fd, n, err);
	if (rc)
		kho_proc__container_net__free_unpacked(n, NULL);
	else
		*out = n;
	return rc;
}
