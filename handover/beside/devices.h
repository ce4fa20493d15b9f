/* SPDX-License-Identifier: GPL-2.0-only */
/* Devices that change hands, by what their drivers are found with. */
#ifndef KHO_BESIDE_DEVICES_H
#define KHO_BESIDE_DEVICES_H

#include "bpf/gate.h"
#include "handover/beside/machine.h"

/* A device: its modalias, and the name of its driver here ("" = none). Not 0 ends the walk. */
typedef int kho_device_fn(void *arg, const char *alias, const char *driver);

/* The function itself, then the virtio devices on it. 0, what fn said, -ENOMEM. */
int kho_each_device(const char *sysroot, const struct kho_ledger_pci *p, kho_device_fn *fn, void *arg) __must_check;

/* What a module of a driver's name is called, cut where it is longer than any (MODULE_NAME_LEN of include/linux/moduleparam.h). */
#define KHO_DRIVER_BYTES 64
void kho_driver_module(const char *driver, char out[KHO_DRIVER_BYTES]);

struct kho_devices {
	struct kho_gate_device *d;
	size_t n;
};

/* All of the machine's that have a driver here, without bridges. -ENOMEM is the only failure; kho_devices_done() in any case. */
int kho_devices_used(const char *sysroot, const struct kho_machine *m, struct kho_devices *out, struct kho_err *err) __must_check;
void kho_devices_done(struct kho_devices *l);

#endif
