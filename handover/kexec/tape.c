// SPDX-License-Identifier: GPL-2.0-only
/*
 * The requests that the incoming side will carry out, in order. An inverse takes the request back that it undoes: nothing has been done with it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handover/beside/boot.h"
#include "handover/kexec/kexec.h"
#include "handover/link/setup.h"
#include "handover/link/wire.h"

#define NO_BULK 4096 /* there is no bulk area; what a setup must say at least */

static void request_done(struct kho_kexec_request *q)
{
	if (q->data)
		explicit_bzero(q->data, q->len); /* there may be a key in it */
	free(q->data);
}

static int add(void *arg, KhoLink__Msg *m, struct kho_err *err)
{
	struct kho_kexec *k = arg;
	struct kho_kexec_request q = { .body = m->body_case, .len = kho_link__msg__get_packed_size(m) }, *more;

	q.data = malloc(q.len + 1);
	if (q.data)
		kho_link__msg__pack(m, q.data);
	if (m->body_case == KHO_LINK__MSG__BODY_OP) {
		snprintf(q.serializer, sizeof(q.serializer), "%s", m->op->serializer);
		snprintf(q.op, sizeof(q.op), "%s", m->op->op);
	}
	pthread_mutex_lock(&k->lock);
	more = q.data ? realloc(k->tape, (k->ntape + 1) * sizeof(*more)) : NULL;
	if (more) {
		k->tape = more;
		more[k->ntape++] = q;
	}
	pthread_mutex_unlock(&k->lock);
	if (more)
		return 0;
	request_done(&q);
	return kho_fail(err, -ENOMEM, "keep a request for the incoming kernel");
}

static void take_back(struct kho_kexec *k, const char *serializer, const char *op)
{
	size_t n = 0;

	pthread_mutex_lock(&k->lock);
	for (size_t i = 0; i < k->ntape; i++) {
		struct kho_kexec_request *q = &k->tape[i];

		if (q->body == KHO_LINK__MSG__BODY_OP && !strcmp(q->serializer, serializer) && !strcmp(q->op, op))
			request_done(q);
		else
			k->tape[n++] = *q;
	}
	k->ntape = n;
	pthread_mutex_unlock(&k->lock);
}

int kho_kexec_connect(struct kho_engine *e, uint64_t deadline_us, struct kho_err *err)
{
	struct kho_kexec *k = kho_kexec_of(e);
	const struct kho_engine_request *req = e->req;
	const struct kho_peer_setup setup = {
		.workloads = req->workloads,
		.after_commit = req->after_commit,
		.watch = req->watch,
		.run_dir = req->run_dir,
		.images_dir = k->images_dir,
		.root_in_ram = k->m.root_in_ram,
		.pid_floor = kho_pid_range(req->workloads),
	};

	(void)deadline_us;
	kho_kexec_keep_out(k);
	return kho_setup_make(&setup, KHO_LINK_REVISION, NO_BULK, NO_BULK, add, k, err);
}

int kho_kexec_disconnect(struct kho_engine *e, struct kho_err *err)
{
	struct kho_kexec *k = kho_kexec_of(e);

	(void)err;
	while (k->ntape)
		request_done(&k->tape[--k->ntape]);
	kho_kexec_drop_files(k);
	kho_kexec_let_in(k);
	return 0;
}

int kho_kexec_peer_op(struct kho_engine *e, const char *serializer, const char *op, const struct kho_blob *in, struct kho_report *r,
		      const struct kho_until *until, uint64_t deadline_us, struct kho_err *err)
{
	KhoLink__Op o = KHO_LINK__OP__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	(void)r;
	(void)until; /* it does not take long */
	(void)deadline_us;
	if (!strcmp(op, "unprepare"))
		take_back(kho_kexec_of(e), serializer, "prepare");
	else if (!strcmp(op, "discard"))
		take_back(kho_kexec_of(e), serializer, "retrieve");
	/* the others are the agent's own to do: everything is verified there, then signed, then finished */
	if (strcmp(op, "prepare") && strcmp(op, "retrieve"))
		return 0;
	o.serializer = (char *)(uintptr_t)serializer;
	o.op = (char *)(uintptr_t)op;
	if (in) {
		o.in.data = in->data;
		o.in.len = in->len;
	}
	m.body_case = KHO_LINK__MSG__BODY_OP;
	m.op = &o;
	return add(kho_kexec_of(e), &m, err);
}

int kho_kexec_entrust(struct kho_engine *e, const char *const *names, const struct kho_blob *record, bool complete, struct kho_err *err)
{
	KhoLink__Entrust en = KHO_LINK__ENTRUST__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;
	/* the rounds of pre-copy are over, and everything still runs */
	int ret = kho_kexec_settle_files(kho_kexec_of(e), err);

	(void)record; /* it comes with the commit */
	(void)complete;
	if (ret < 0)
		return ret;
	en.serializer = (char **)(uintptr_t)names;
	while (names[en.n_serializer])
		en.n_serializer++;
	en.complete = true; /* nobody else can */
	m.body_case = KHO_LINK__MSG__BODY_ENTRUST;
	m.entrust = &en;
	return add(kho_kexec_of(e), &m, err);
}

int kho_kexec_peer_fault(struct kho_engine *e, const char *kind, struct kho_err *err)
{
	KhoLink__Fault f = KHO_LINK__FAULT__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	f.kind = (char *)(uintptr_t)kind;
	m.body_case = KHO_LINK__MSG__BODY_FAULT;
	m.fault = &f;
	return add(kho_kexec_of(e), &m, err);
}
