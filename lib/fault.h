/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Named faults, for tests:  KHOCTL_FAULT=FAULT[,FAULT...]
 *
 *   STEP[.before|.after|.undo]:KIND	when the runner is there; before is the default
 *   STEP.signed:KIND			in the step that signs: the other kernel has, and this one has not written so yet
 *   SERIALIZER.freeze|drain|retrieve:KIND	in its lane, before that operation
 *   SERIALIZER.finish|tidy:KIND		after the commit, before that operation
 *   link.MESSAGE[.reply][@STEP]:KIND	the next such message (or the reply to one), from the begin of STEP on, or from the first
 *
 * Places and kinds are lib/faults.def. Each fault strikes once, and is told when it does.
 */
#ifndef KHO_LIB_FAULT_H
#define KHO_LIB_FAULT_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/err.h"

/* What can have a fault. */
enum kho_fault_where {
	KHO_AT_STEP = 1 << 0, /* a step of the upgrade */
	KHO_AT_UNDO = 1 << 1, /* its undo */
	KHO_AT_LANE = 1 << 2, /* a serializer's lane in the blackout */
	KHO_AT_LINK = 1 << 3, /* a message between the kernels */
	KHO_AT_END = 1 << 4,  /* what a serializer does after the commit */
	KHO_AT_SIGN = 1 << 5, /* a step that signs, between the two signatures */
};

enum kho_fault_place {
#define PLACE(id, name, where) KHO_FAULT_##id,
#include "lib/faults.def"
	KHO_FAULT_NPLACES,
};

enum kho_fault_kind {
	KHO_FAULT_NONE,
#define HERE(id, name, where, what) KHO_FAULT_##id,
#define PEER(id, what)		    KHO_FAULT_PEER_##id,
#define LINK(id, name, what)	    KHO_FAULT_##id,
#include "lib/faults.def"
	KHO_FAULT_NKINDS,
};

/* A row of lib/faults.def. */
struct kho_fault_word {
	const char *name;
	unsigned where; /* enum kho_fault_where */
	const char *what; /* of a kind: what happens */
};

/* By enum kho_fault_place, and by enum kho_fault_kind (the first row is that of none). */
extern const struct kho_fault_word kho_fault_places[KHO_FAULT_NPLACES], kho_fault_kinds[KHO_FAULT_NKINDS];

#define KHO_FAULTS_MAX	  16
#define KHO_FAULT_NAME_MAX 80
#define KHO_FAULT_LINK	  "link."
#define KHO_FAULT_FIRED	  "fault struck: " /* and its name: what is told when one has */

struct kho_faults {
	struct kho_fault {
		char name[KHO_FAULT_NAME_MAX]; /* as it was asked for */
		char at[32];  /* step, serializer, or message */
		char from[32]; /* of a message: the step; "" for the first */
		enum kho_fault_place place;
		enum kho_fault_kind kind;
	} f[KHO_FAULTS_MAX];
	size_t n;
};

/* What exists, each NULL-terminated. NULL: none; without steps a message's @STEP may be anything. */
struct kho_fault_names {
	const char *const *steps, *const *lanes, *const *messages;
};

/*
 * Parse text (NULL or "": no faults). Unknown name, place or kind, or a kind that cannot be there:
 * -EINVAL naming what is known.
 */
int kho_faults_parse(const char *text, const struct kho_fault_names *known, struct kho_faults *out,
		     struct kho_err *err) __must_check;

/* Which fault is due at this place of a step or lane? NULL: none. */
const struct kho_fault *kho_fault_at(const struct kho_faults *f, const char *at,
				     enum kho_fault_place place);

/* What the incoming kernel shall do ("panic", ...), or NULL: kind is no fault of its own. */
const char *kho_fault_peer(enum kho_fault_kind kind);

/* Its number in kho_fault_places, or -1. */
int kho_fault_place_find(const char *name);
/* Its number in kho_fault_kinds, or -1. */
int kho_fault_kind_find(const char *name);

#endif
