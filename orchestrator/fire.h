/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Faults that a test has asked for (lib/fault.h), made to strike: by the runner at steps and their undo, by the
 * lanes before each operation. Each is told and journaled when it does.
 */
#ifndef KHO_FIRE_H
#define KHO_FIRE_H

#include "lib/fault.h"
#include "orchestrator/context.h"

/* What is due at this place of a step or serializer: what it does, or how it failed. */
int kho_fault_fire(struct kho_upgrade *u, const char *at, enum kho_fault_place place, struct kho_err *err) __must_check;

/* Those of messages that begin with this step ("": with the first message) are given to the engine. */
int kho_fault_arm(struct kho_upgrade *u, const char *step, struct kho_err *err) __must_check;

/* One has struck: journal, and a line for who watches. arg: the upgrade */
void kho_fault_struck(void *arg, const char *name);

/* End what waits for its moment. */
void kho_fault_done(struct kho_upgrade *u);

#endif
