// SPDX-License-Identifier: GPL-2.0-only
/*
 * When the packet filter is read and when it is in force.
 *
 * Outgoing: preserve reads the rule set, drain reads it again (counters, dynamic sets) and, now that nothing
 * comes from outside any more, the tracked connections.  Incoming: prepare loads the modules and the rule
 * set, so that one this kernel does not take ends the upgrade before the blackout; retrieve loads
 * what has changed, before an interface is up.  So the machine is never on the wire without its rules.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "lib/netmods.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev.h"
#include "state-serializers/netfilter.h"

#define CONNECTIONS  "netdev.conntrack" /* in run_dir here, in images_dir there */
#define MODULES_MAX  (1u << 20)
#define ENTRIES_MAX  (512u << 20)

static struct kho_blob in_force; /* incoming: the rule set as it was packed */

/* --- outgoing --- */

struct module_arg {
	Kho__Netdev *cfg;
	bool has_ctnetlink;
};

static int add_module(void *arg, const char *name)
{
	struct module_arg *m = arg;
	char *copy = strdup(name);

	m->has_ctnetlink |= !strcmp(name, KHO_CTNETLINK);
	if (!copy || kho_pb_append(&m->cfg->module, &m->cfg->n_module, copy)) {
		free(copy);
		return -ENOMEM;
	}
	return 0;
}

static int add_sysctl(Kho__Netdev *cfg, const char *key, const char *value)
{
	Kho__NetSysctl *s = malloc(sizeof(*s));

	if (!s)
		return -ENOMEM;
	kho__net_sysctl__init(s);
	if (kho_pb_set(&s->key, key) || kho_pb_set(&s->value, value) || kho_pb_append(&cfg->sysctl, &cfg->n_sysctl, s)) {
		kho__net_sysctl__free_unpacked(s, NULL);
		return -ENOMEM;
	}
	return 0;
}

/* Parameters that are there only with the modules: the host serializer cannot write them. */
static int read_sysctls(Kho__Netdev *cfg)
{
	static const char *const dirs[] = { "netfilter", "bridge" };
	char path[PATH_MAX], key[300];
	int ret = 0;

	for (size_t i = 0; i < KHO_ARRAY_SIZE(dirs); i++) {
		snprintf(path, sizeof(path), "/proc/sys/net/%s", dirs[i]);
		_cleanup_closedir_ DIR *d = opendir(path);

		for (struct dirent *e = d ? readdir(d) : NULL; e && !ret; e = readdir(d)) {
			_cleanup_free_ char *value = NULL;
			struct stat st;

			snprintf(key, sizeof(key), "%s/%s", dirs[i], e->d_name);
			snprintf(path, sizeof(path), "/proc/sys/net/%s", key);
			if (stat(path, &st) < 0 || !S_ISREG(st.st_mode) || (st.st_mode & 0600) != 0600 || kho_read_line(path, &value, NULL) < 0)
				continue;
			ret = add_sysctl(cfg, key, value);
		}
	}
	return ret;
}

int kho_netdev_filter_begin(Kho__Netdev *cfg, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	struct module_arg m = { .cfg = cfg };
	int ret = 0;

	/* not there: a kernel without modules */
	if (kho_read_file("/proc/modules", MODULES_MAX, &text, NULL, NULL) >= 0)
		ret = kho_network_modules(text, add_module, &m);
	if (!ret)
		ret = read_sysctls(cfg);
	if (ret < 0)
		return kho_fail(err, ret, "read packet filter: out of memory");
	if (kho_exists("/proc/sys/net/netfilter/nf_conntrack_count") && text && !m.has_ctnetlink) {
		cfg->ctnetlink_module = true;
		if (add_module(&m, KHO_CTNETLINK) < 0)
			return kho_fail(err, -ENOMEM, "read packet filter: out of memory");
	}
	return ret < 0 ? ret : kho_nft_read(&cfg->ruleset, err);
}

static int send_connections(struct kho_env *env, Kho__Netdev *cfg, struct kho_err *err)
{
	Kho__NetConntrack c = KHO__NET_CONNTRACK__INIT;
	struct kho_blob b = { 0 };
	char path[PATH_MAX];
	int ret = kho_ct_read(&c, err);

	snprintf(path, sizeof(path), "%s/" CONNECTIONS, env->run_dir);
	if (!ret && c.n_entry) {
		ret = kho_pb_pack(&c.base, &b, err);
		if (!ret)
			ret = kho_write_file(path, b.data, b.len, err);
		if (!ret)
			ret = env->ops->put_file(env, path, CONNECTIONS, err);
		if (!ret && kho_pb_set(&cfg->conntrack, CONNECTIONS))
			ret = kho_fail(err, -ENOMEM, "read tracked connections: out of memory");
		(void)!unlink(path);
	}
	for (size_t i = 0; i < c.n_entry; i++)
		free(c.entry[i].data);
	free(c.entry);
	kho_blob_done(&b);
	return ret;
}

int kho_netdev_filter_read(struct kho_env *env, Kho__Netdev *cfg, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	Kho__NetRuleset *r;
	int ret = kho_nft_read(&r, err);

	if (ret < 0)
		return ret;
	if (cfg->ruleset)
		kho__net_ruleset__free_unpacked(cfg->ruleset, NULL);
	cfg->ruleset = r;
	ret = kho_pb_set(&cfg->conntrack, "") ? kho_fail(err, -ENOMEM, "out of memory") : 0;
	if (!ret && kho_ct_count())
		ret = send_connections(env, cfg, err);
	kho_phase(env, "packet filter read", begin);
	return ret;
}

/* --- incoming --- */

/* devices: see kho_nft_load(). Nothing is done when it is in force already. */
static int load(const Kho__NetRuleset *r, bool devices, struct kho_err *err)
{
	static const Kho__NetRuleset nothing = KHO__NET_RULESET__INIT;
	struct kho_blob b = { 0 };
	int ret;

	r = r ? r : &nothing;
	/* nothing was, nothing is: a kernel without nftables need not have it */
	if (!r->n_table && !in_force.data)
		return 0;
	ret = kho_pb_pack(&r->base, &b, err);
	if (ret < 0)
		return ret;
	if (in_force.data && in_force.len == b.len && !memcmp(in_force.data, b.data, b.len) && !kho_nft_names_devices(r)) {
		kho_blob_done(&b);
		return 0;
	}
	ret = kho_nft_load(r, devices, err);
	kho_blob_done(ret < 0 ? &b : &in_force);
	if (!ret)
		in_force = b;
	return ret;
}

/* Some make an interface by themselves when they are loaded. */
static void load_modules(const Kho__Netdev *cfg)
{
	static const char *const quiet[] = { "bonding max_bonds=0", "dummy numdummies=0", "ifb numifbs=0" };

	/* one that has another name here, or is built in, is no loss: what needs it says so */
	for (size_t i = 0; i < cfg->n_module; i++) {
		const char *name = cfg->module[i], *with = name;

		for (size_t k = 0; k < KHO_ARRAY_SIZE(quiet); k++)
			if (!strncmp(quiet[k], name, strlen(name)) && quiet[k][strlen(name)] == ' ')
				with = quiet[k];
		(void)!kho_modules_load(&with, 1, NULL);
	}
}

int kho_netdev_filter_prepare(struct kho_env *env, const Kho__Netdev *cfg, struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;
	char path[512];

	load_modules(cfg);
	for (size_t i = 0; i < cfg->n_sysctl; i++) {
		snprintf(path, sizeof(path), "/proc/sys/net/%s", cfg->sysctl[i]->key);
		if (!strstr(path, "..") && kho_exists(path) && kho_write_existing(path, cfg->sysctl[i]->value, &e) < 0)
			kho_note(env, "%s", e.msg);
	}
	return load(cfg->ruleset, false, err);
}

/* Rules that know interfaces by their indexes must find the same ones: otherwise they would let in what they should keep out. */
static int check_indexes(struct kho_env *env, const Kho__Netdev *cfg, const int *index, struct kho_err *err)
{
	for (size_t i = 0; i < cfg->n_link; i++) {
		if (!index[i] || index[i] == (int)cfg->link[i]->index)
			continue;
		if (cfg->ruleset && kho_nft_knows_indexes(cfg->ruleset))
			return kho_fail(err, -ENOTSUP, "%s has index %d here and had %u, and firewall rules know it by that; use its name "
				"in them (iifname, oifname)", cfg->link[i]->name, index[i], cfg->link[i]->index);
		kho_note(env, "%s has index %d, it had %u", cfg->link[i]->name, index[i], cfg->link[i]->index);
	}
	return 0;
}

int kho_netdev_filter_take(struct kho_env *env, const Kho__Netdev *cfg, const int *index, struct kho_err *err)
{
	_cleanup_free_ char *data = NULL;
	uint64_t begin = kho_clock_us();
	struct kho_blob b = { 0 };
	Kho__NetConntrack *c;
	char path[PATH_MAX];
	size_t refused = 0;
	int ret = check_indexes(env, cfg, index, err);

	if (!ret)
		ret = load(cfg->ruleset, true, err);
	if (!ret && *cfg->conntrack) {
		snprintf(path, sizeof(path), "%s/" CONNECTIONS, env->images_dir);
		ret = kho_read_file(path, ENTRIES_MAX, &data, &b.len, err);
		if (ret < 0)
			return ret;
		b.data = data;
		c = kho_pb_unpack(&kho__net_conntrack__descriptor, &b, err);
		if (!c)
			return -EBADMSG;
		ret = kho_ct_load(c, &refused, err);
		if (!ret && refused)
			kho_note(env, "%zu of %zu tracked connections are not taken by this kernel", refused, c->n_entry);
		kho__net_conntrack__free_unpacked(c, NULL);
	}
	kho_phase(env, "packet filter in force", begin);
	return ret < 0 ? ret : 0;
}

int kho_netdev_filter_discard(const Kho__Netdev *cfg, struct kho_err *err)
{
	return *cfg->conntrack ? kho_ct_flush(err) : 0;
}

int kho_netdev_filter_drop(struct kho_err *err)
{
	int ret = in_force.data ? kho_nft_load(NULL, true, err) : 0;

	kho_blob_done(&in_force);
	return ret;
}

void kho_netdev_filter_keep(struct kho_env *env)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/" CONNECTIONS, env->images_dir);
	(void)!unlink(path); /* none, if nothing was tracked */
	kho_blob_done(&in_force);
}
