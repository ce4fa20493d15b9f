/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What can be carried of each process, and of each of its descriptors, before anything is touched.
 */
#ifndef KHO_PROC_PROBE_H
#define KHO_PROC_PROBE_H

#include "state-serializers/serializer.h"

int kho_proc_probe(struct kho_env *env, struct kho_report *r, struct kho_err *err);

#endif
