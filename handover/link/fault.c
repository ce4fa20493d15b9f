// SPDX-License-Identifier: GPL-2.0-only
/* Faults of the link.  See handover/link/fault.h. */
#include "handover/link/fault.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "handover/link/wire.h"

/* What the agent sends by itself; all else comes from the outgoing side. (Either says Bye; ours is the one that is meant.) */
static bool from_agent(KhoLink__Msg__BodyCase body)
{
	return body == KHO_LINK__MSG__BODY_HELLO || body == KHO_LINK__MSG__BODY_NOTE ||
	       body == KHO_LINK__MSG__BODY_PHASE || body == KHO_LINK__MSG__BODY_REPLY;
}

void kho_link_faults_init(struct kho_link_faults *l, void (*fired)(void *arg, const char *name), void *arg)
{
	*l = (struct kho_link_faults){ .fired = fired, .arg = arg };
	pthread_mutex_init(&l->lock, NULL);
}

void kho_link_faults_done(struct kho_link_faults *l)
{
	pthread_mutex_destroy(&l->lock);
}

bool kho_link_fault_is_agents(const struct kho_fault *f)
{
	return f->place == KHO_FAULT_REPLY || from_agent(kho_msg_find(f->at));
}

int kho_link_fault_arm(struct kho_link_faults *l, const struct kho_fault *f, struct kho_err *err)
{
	KhoLink__Msg__BodyCase body = kho_msg_find(f->at);
	int rc = 0;

	if (body == KHO_LINK__MSG__BODY__NOT_SET || !(kho_fault_kinds[f->kind].where & KHO_AT_LINK))
		return kho_fail(err, -EINVAL, "the link knows no fault '%s'", f->name);
	pthread_mutex_lock(&l->lock);
	if (l->n == KHO_FAULTS_MAX) {
		rc = kho_fail(err, -E2BIG, "more than %d faults of the link", KHO_FAULTS_MAX);
	} else {
		struct kho_link_fault *out = &l->f[l->n++];

		*out = (struct kho_link_fault){ .body = body, .reply = f->place == KHO_FAULT_REPLY, .kind = f->kind };
		memcpy(out->name, f->name, sizeof(out->name));
	}
	pthread_mutex_unlock(&l->lock);
	return rc;
}

bool kho_link_fault_is_told(const KhoLink__Msg *m)
{
	return m->body_case == KHO_LINK__MSG__BODY_NOTE && !strncmp(m->note->text, KHO_FAULT_FIRED, strlen(KHO_FAULT_FIRED));
}

enum kho_fault_kind kho_link_fault_take(struct kho_link_faults *l, KhoLink__Msg__BodyCase body,
					KhoLink__Msg__BodyCase answers)
{
	struct kho_link_fault struck = { .kind = KHO_FAULT_NONE };

	pthread_mutex_lock(&l->lock);
	for (size_t i = 0; i < l->n; i++) {
		if (l->f[i].reply ? l->f[i].body != answers : l->f[i].body != body)
			continue;
		struck = l->f[i];
		memmove(&l->f[i], &l->f[i + 1], (--l->n - i) * sizeof(l->f[0]));
		break;
	}
	pthread_mutex_unlock(&l->lock);
	if (struck.kind && l->fired)
		l->fired(l->arg, struck.name);
	return struck.kind;
}
