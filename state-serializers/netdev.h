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

#endif
