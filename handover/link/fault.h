/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Faults of the link, for tests: the next message of a kind is not sent, sent twice, or sent late (lib/fault.h,
 * "link.MESSAGE[.reply]:drop|dup|late"). They happen where a message is sent, on either side.
 */
#ifndef KHO_LINK_FAULT_H
#define KHO_LINK_FAULT_H

#include <pthread.h>
#include <stdbool.h>

#include "handover/link/link.pb-c.h"
#include "lib/err.h"
#include "lib/fault.h"

/* Longer than a peer waits before it asks whether anybody is there, shorter than it takes silence for the end. */
#define KHO_LINK_LATE_US 3000000

struct kho_link_faults {
	pthread_mutex_t lock;
	struct kho_link_fault {
		char name[KHO_FAULT_NAME_MAX];
		KhoLink__Msg__BodyCase body;
		bool reply; /* the answer to one, not the request */
		enum kho_fault_kind kind;
	} f[KHO_FAULTS_MAX];
	size_t n;
	/* One has struck; called from whatever thread sends, with no lock held. May be NULL. */
	void (*fired)(void *arg, const char *name);
	void *arg;
};

void kho_link_faults_init(struct kho_link_faults *l, void (*fired)(void *arg, const char *name), void *arg);
void kho_link_faults_done(struct kho_link_faults *l);

/* Is it the agent that sends what this fault is about (a reply, a note ...)? */
bool kho_link_fault_is_agents(const struct kho_fault *f);

/* From now on the next such message has it. -EINVAL: no such message. */
int kho_link_fault_arm(struct kho_link_faults *l, const struct kho_fault *f, struct kho_err *err) __must_check;

/* Is this the note that one has struck? It has none itself. */
bool kho_link_fault_is_told(const KhoLink__Msg *m);

/*
 * What shall happen to this message, once: KHO_FAULT_NONE, _DROP, _DUP or _LATE. answers: what a reply
 * answers, else KHO_LINK__MSG__BODY__NOT_SET.
 */
enum kho_fault_kind kho_link_fault_take(struct kho_link_faults *l, KhoLink__Msg__BodyCase body,
					KhoLink__Msg__BodyCase answers);

#endif
