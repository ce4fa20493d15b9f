/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The network namespace of a container: made again with what is in it, and connected to the system's
 * bridge by veth pairs of the same names. The bridge, packet filter and connection tracking of the
 * system are the netdev serializer's.
 */
#ifndef KHO_PROC_CONTAINER_NET_H
#define KHO_PROC_CONTAINER_NET_H

#include "state-serializers/proc.pb-c.h"
#include "state-serializers/serializer.h"

/* CRIU's name of the namespace, which it does not make itself. */
#define KHO_CONTAINER_NET "khoctl-net"

/*
 * Call fn by a thread of its own in the network namespace fd (-1: in a new one). What it returns is
 * returned, with its err.
 */
int kho_in_netns(int fd, int (*fn)(void *arg, struct kho_err *err), void *arg, struct kho_err *err) __must_check;

/* Where the runtime's configuration (config.json) says the network namespace is mounted, malloc'd; NULL: nowhere. */
char *kho_container_net_path(const char *config, size_t len);

/* Of the container c (its id or its bundle, and its first process); *out stays NULL when it is in the system's. -ENOTSUP says why it cannot be carried. */
int kho_container_net_read(const KhoProc__Container *c, KhoProc__ContainerNet **out, struct kho_err *err) __must_check;

/* Make it, with everything in it, and the pairs; unconnected. Its inverse. One that is shared is made, and dropped, by the other. */
int kho_container_net_make(const KhoProc__ContainerNet *n, struct kho_err *err) __must_check;
void kho_container_net_drop(const KhoProc__ContainerNet *n);

/* The outer ends become ports of their bridges, which are there now, and go up. */
int kho_container_net_connect(const KhoProc__ContainerNet *n, struct kho_err *err) __must_check;

#endif
