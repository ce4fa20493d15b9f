/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Thin, typed calls of the module's ioctls (handover/uapi/khoctl_ioctl.h), for engine and agent.
 * Each returns 0 or -errno with err filled ("take CPU 3 (APIC id 3): not parked").
 */
#ifndef KHO_DEV_H
#define KHO_DEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handover/uapi/khoctl_ioctl.h"
#include "lib/err.h"
#include "state-serializers/serializer.h"

/* Open /dev/khoctl (O_CLOEXEC). -ENOENT: module not loaded; the message says how to load it. */
int kho_dev_open(struct kho_err *err);
/*
 * Load the module into the running kernel, if it is not there. -ENOENT: not installed, -ENOEXEC/-EINVAL: built for another
 * kernel, -ENOKEY/-EKEYREJECTED/-EPERM: not signed as this kernel wants; the message names the fix.
 */
int kho_dev_load(struct kho_err *err);
int kho_dev_info(int fd, struct kho_ioc_info *out, struct kho_err *err);
/* *out malloc'd, *out_n entries. */
int kho_dev_cpus(int fd, struct kho_cpu_info **out, size_t *out_n, struct kho_err *err);

/* node -1: any. [min, max) physical. */
int kho_dev_mem_take(int fd, uint64_t bytes, uint64_t align, uint64_t min, uint64_t max, int node,
		     uint64_t *out_base, struct kho_err *err);
int kho_dev_mem_release(int fd, uint64_t base, uint64_t bytes, struct kho_err *err);
int kho_dev_mem_adopt(int fd, uint64_t base, uint64_t bytes, struct kho_err *err);
int kho_dev_mem_disown(int fd, uint64_t base, uint64_t bytes, struct kho_err *err);
/* A taken range: the incoming kernel may adopt it while both run. */
int kho_dev_mem_give(int fd, uint64_t base, uint64_t bytes, struct kho_err *err);

int kho_dev_region_init(int fd, struct kho_ioc_region_init *arg, struct kho_err *err);
int kho_dev_region_drop(int fd, struct kho_err *err);

int kho_dev_cpu_give(int fd, uint32_t apicid, uint32_t peer, struct kho_err *err);
int kho_dev_cpu_take(int fd, uint32_t apicid, uint32_t peer, bool fence, struct kho_err *err);
int kho_dev_spawn(int fd, uint32_t apicid, uint64_t entry, uint64_t rsi, struct kho_err *err);
int kho_dev_stop(int fd, struct kho_err *err);
int kho_dev_fence(int fd, struct kho_err *err);	/* the outgoing kernel is stopped */
int kho_dev_retire(int fd, struct kho_err *err);	/* returns only on failure */

/* out_us may be NULL. */
int kho_dev_pci_quiesce(int fd, struct kho_pci_addr a, uint32_t *out_us, struct kho_err *err);
int kho_dev_pci_unquiesce(int fd, struct kho_pci_addr a, uint32_t *out_us, struct kho_err *err);
int kho_dev_pci_give(int fd, struct kho_pci_addr a, uint32_t peer, uint32_t *out_us, struct kho_err *err);
int kho_dev_pci_take(int fd, struct kho_pci_addr a, uint32_t peer, uint32_t *out_us, struct kho_err *err);

int kho_dev_state(int fd, enum kho_instance_state state, struct kho_err *err);
/* "running", "dark" ...; "?" for an unknown value. */
const char *kho_state_name(uint32_t state);

/* /dev/khoctl-link, attached to peer. flags: 0 or O_NONBLOCK. */
int kho_dev_link_open(uint32_t peer, int flags, struct kho_err *err);
int kho_dev_ping(int link_fd, uint32_t mode, uint32_t count, struct kho_ioc_ping *out, struct kho_err *err);

/* Map physical memory [phys, phys + bytes); write: also writable. NULL with err. */
void *kho_dev_map(int fd, uint64_t phys, size_t bytes, bool write, struct kho_err *err);

#endif
