/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The two sides of the netdev serializer; see serializer.h for what each operation does.
 */
#ifndef KHO_NETDEV_H
#define KHO_NETDEV_H

#include "state-serializers/netdev-nl.h"
#include "state-serializers/serializer.h"

/* The links that are carried: every PCI interface that is up, and lo; names, PCI addresses and modules only. */
int kho_netdev_find(const char *sysroot, Kho__Netdev **out, struct kho_err *err);
int kho_netdev_probe(struct kho_env *env, struct kho_report *r, struct kho_err *err);

int kho_netdev_preserve(struct kho_env *env, unsigned round, struct kho_blob *out, bool *out_more, struct kho_err *err);
int kho_netdev_unpreserve(struct kho_env *env, struct kho_err *err);
int kho_netdev_freeze(struct kho_env *env, struct kho_err *err);
int kho_netdev_drain(struct kho_env *env, struct kho_blob *out, struct kho_err *err);
int kho_netdev_unfreeze(struct kho_env *env, struct kho_err *err);

int kho_netdev_prepare(struct kho_env *env, const struct kho_blob *in, struct kho_err *err);
int kho_netdev_unprepare(struct kho_env *env, struct kho_err *err);
int kho_netdev_retrieve(struct kho_env *env, const struct kho_blob *in, struct kho_err *err);
int kho_netdev_verify(struct kho_env *env, struct kho_report *r, struct kho_err *err);
int kho_netdev_discard(struct kho_env *env, struct kho_err *err);
int kho_netdev_finish(struct kho_env *env, struct kho_err *err);
int kho_netdev_tidy(struct kho_env *env, struct kho_err *err);

/* --- files in /run (netdev-files.c); root: "", or a directory instead of / --- */
/* preserve, when rule set and indexes are known. */
int kho_netdev_files_collect(Kho__Netdev *cfg, const char *root, struct kho_err *err);
/* prepare; they end with the incoming kernel's /run. */
int kho_netdev_files_place(const Kho__Netdev *cfg, const char *root, struct kho_err *err);
/* One more of them. 0 or -ENOMEM. */
int kho_netdev_add_file(Kho__Netdev *cfg, const char *path, const char *text);
/* For a unit's shell: the system still comes up. A manager that is too busy to answer (systemctl gives up after 25 s) does. */
#define KHO_NETDEV_COMES_UP "! systemctl is-system-running | grep -qE \"^(running|degraded|maintenance|stopping)\""

/* --- ifupdown (netdev-ifupdown.c), when the links are known --- */
/* preserve: its state and the start of its DHCP clients into cfg's files. 0 or -ENOMEM. */
int kho_netdev_ifupdown_collect(Kho__Netdev *cfg, const char *root);
/* What becomes of both. 0 or -ENOMEM. */
int kho_netdev_ifupdown_probe(const Kho__Netdev *cfg, const char *root, struct kho_report *r);

/* --- the packet filter's part in each (netdev-filter.c) --- */
#define KHO_CTNETLINK "nf_conntrack_netlink"
/* preserve: rule set, modules, parameters into cfg, and whether KHO_CTNETLINK must be loaded. Reads only. */
int kho_netdev_filter_begin(Kho__Netdev *cfg, struct kho_err *err);
/* drain: the rule set again, and the tracked connections. */
int kho_netdev_filter_read(struct kho_env *env, Kho__Netdev *cfg, struct kho_err *err);
/* prepare: in force, but for tables that name interfaces; its inverse. */
int kho_netdev_filter_prepare(struct kho_env *env, const Kho__Netdev *cfg, struct kho_err *err);
int kho_netdev_filter_drop(struct kho_err *err);
/* retrieve, when the interfaces are there and none is up: all of it, and the connections; its inverse. index[i]: of cfg->link[i], here. */
int kho_netdev_filter_take(struct kho_env *env, const Kho__Netdev *cfg, const int *index, struct kho_err *err);
int kho_netdev_filter_discard(const Kho__Netdev *cfg, struct kho_err *err);
/* tidy: it stays as it is, and what came for retrieve is not needed any more. */
void kho_netdev_filter_keep(struct kho_env *env);

#endif
