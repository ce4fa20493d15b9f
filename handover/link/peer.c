// SPDX-License-Identifier: GPL-2.0-only
/*
 * The outgoing side's end of the link: connect, agree, and the plain calls.  See peer.h; waiting
 * and the receiver thread are in peer_call.c, files in peer_file.c.
 */
#include "handover/link/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "handover/dev.h"
#include "handover/link/peer_impl.h"
#include "handover/link/setup.h"
#include "lib/cleanup.h"
#include "lib/clock.h"

#define KNOCK_US 500000

static void set_bytes(ProtobufCBinaryData *d, const void *data, size_t len)
{
	d->data = (void *)data;
	d->len = len;
}

/* --- connect --- */

static int slots_init(struct kho_peer *p, void *bulk, uint64_t bytes, struct kho_err *err)
{
	uint64_t slot = KHO_SLOT_BYTES;

	if (bytes < 4 * slot)
		slot = bytes / 4 & ~4095ULL;
	if (!bulk || slot < 4096)
		return kho_fail(err, -EINVAL,
				"bulk area of %" PRIu64 " bytes: at least 16 KiB are needed",
				bytes);
	p->bulk = bulk;
	p->bulk_bytes = bytes;
	p->slot_bytes = slot;
	p->nslots = bytes / slot < 4096 ? bytes / slot : 4096;
	p->free_slots = calloc(p->nslots, sizeof(*p->free_slots));
	if (!p->free_slots)
		return kho_fail(err, -ENOMEM, "table of %" PRIu32 " slots", p->nslots);
	while (p->nfree < p->nslots) {
		p->free_slots[p->nfree] = p->nslots - 1 - p->nfree;
		p->nfree++;
	}
	return 0;
}

static int peer_new(struct kho_peer **out, const struct kho_transport *t, void *bulk,
		    uint64_t bytes, const struct kho_peer_setup *setup, struct kho_err *err)
{
	struct kho_peer *p = calloc(1, sizeof(*p));
	pthread_condattr_t attr;
	int ret;

	if (!p) {
		close(t->fd);
		return kho_fail(err, -ENOMEM, "link to the incoming kernel");
	}
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->cond, &attr);
	pthread_condattr_destroy(&attr);
	p->wake = -1;
	p->phase = setup->phase;
	p->note = setup->note;
	p->event_arg = setup->event_arg;
	/*
	 * numbers of a former process on this end must not come again: its late replies may still
	 * lie there
	 */
	p->next_seq = p->next_transfer = kho_clock_us() + 1;
	p->heard_us = kho_clock_us();
	p->quiet_us = KHO_QUIET_US;
	p->silent_us = KHO_SILENT_US;
	ret = kho_stream_init(&p->s, t, true, err);
	p->s.faults = setup->faults;
	if (!ret)
		ret = slots_init(p, bulk, bytes, err);
	if (!ret && (p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0)
		ret = kho_fail_errno(err, "eventfd");
	if (ret) {
		kho_peer_close(p);
		return ret;
	}
	*out = p;
	return 0;
}

static int send_knock(struct kho_peer *p, struct kho_err *err)
{
	KhoLink__Knock knock = KHO_LINK__KNOCK__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	knock.revision_min = KHO_LINK_REVISION_MIN;
	knock.revision_max = KHO_LINK_REVISION;
	m.body_case = KHO_LINK__MSG__BODY_KNOCK;
	m.knock = &knock;
	return kho_stream_send(&p->s, &m, KHO_FRAME_RESET, kho_clock_us() + KNOCK_US, err);
}

static int hello(struct kho_peer *p, const KhoLink__Hello *h, struct kho_err *err)
{
	int rev = kho_link_agree(KHO_LINK_REVISION_MIN, KHO_LINK_REVISION, h->revision_min,
				 h->revision_max, err);

	if (rev < 0) {
		kho_stream_bye(&p->s, rev, err ? err->msg : "no common revision", KHO_PEER_BYE_US);
		return rev;
	}
	p->revision = rev;
	p->agent_pid = h->pid;
	snprintf(p->release, sizeof(p->release), "%s", h->release);
	return 0;
}

/*
 * Knock until the agent says hello. Whatever else comes first was meant for a former process on
 * this end. The agent's kernel may still be booting, so a knock that does not get through is no
 * error.
 */
static int wait_hello(struct kho_peer *p, uint64_t deadline_us, struct kho_err *err)
{
	uint64_t knock_us = 0;

	for (;;) {
		uint64_t now = kho_clock_us(), until = knock_us + KNOCK_US;
		struct kho_err full = KHO_ERR_INIT;
		KhoLink__Msg *m = NULL;
		unsigned flags;
		int ret;

		if (deadline_us && now >= deadline_us)
			return kho_fail(err, -ETIMEDOUT,
					"the incoming kernel's agent has not said hello in time");
		if (now >= until) {
			knock_us = now;
			until = now + KNOCK_US;
			ret = send_knock(p, &full);
			if (ret < 0 && ret != -ETIMEDOUT)
				return kho_fail(err, ret, "%s", full.msg);
		}
		ret = kho_stream_recv(&p->s, -1,
				      deadline_us && deadline_us < until ? deadline_us : until, &m,
				      &flags, err);
		if (ret == 0)
			return kho_fail(err, -EPIPE,
					"the incoming kernel went away before its agent said "
					"hello");
		if (ret == -EAGAIN)
			continue;
		if (ret < 0) {
			kho_stream_bye(&p->s, ret, err ? err->msg : "bad message", KHO_PEER_BYE_US);
			return ret;
		}
		if (m->body_case == KHO_LINK__MSG__BODY_HELLO)
			ret = hello(p, m->hello, err);
		else
			ret = -EAGAIN;
		kho_msg_free(m);
		if (ret != -EAGAIN)
			return ret;
	}
}

struct sending {
	struct kho_peer *p;
	uint64_t deadline_us;
};

static int send_it(void *arg, KhoLink__Msg *m, struct kho_err *err)
{
	const struct sending *s = arg;

	return kho_peer_call(s->p, m, s->deadline_us, NULL, err);
}

static int send_setup(struct kho_peer *p, const struct kho_peer_setup *in, uint64_t deadline_us,
		      struct kho_err *err)
{
	struct sending s = { p, deadline_us };

	return kho_setup_make(in, p->revision, p->bulk_bytes, p->slot_bytes, send_it, &s, err);
}

int kho_peer_connect_on(struct kho_peer **out, const struct kho_transport *t, void *bulk,
			uint64_t bulk_bytes, const struct kho_peer_setup *setup,
			uint64_t deadline_us, struct kho_err *err)
{
	struct kho_peer *p = NULL;
	int ret = peer_new(&p, t, bulk, bulk_bytes, setup, err);

	if (ret)
		return ret;
	ret = wait_hello(p, deadline_us, err);
	/*
	 * an agent says hello at its start, too: it may have heard no knock of ours, and listens to nothing
	 * else until it has. It says hello once more, which nobody waits for.
	 */
	if (!ret)
		ret = send_knock(p, err);
	if (!ret) {
		ret = -pthread_create(&p->rx, NULL, kho_peer_receive, p);
		if (ret)
			ret = kho_fail(err, ret, "start the link's receiver: %s", strerror(-ret));
		else
			p->rx_runs = true;
	}
	if (!ret)
		ret = send_setup(p, setup, deadline_us, err);
	if (ret) {
		kho_peer_close(p);
		return ret;
	}
	*out = p;
	return 0;
}

int kho_peer_connect(struct kho_peer **out, void *bulk, uint64_t bulk_bytes,
		     const struct kho_peer_setup *setup, uint64_t deadline_us, struct kho_err *err)
{
	struct kho_transport t;
	int fd = kho_dev_link_open(KHO_PEER_INCOMING, O_NONBLOCK, err);

	if (fd < 0)
		return fd;
	kho_transport_device(&t, fd);
	return kho_peer_connect_on(out, &t, bulk, bulk_bytes, setup, deadline_us, err);
}

void kho_peer_close(struct kho_peer *p)
{
	uint64_t one = 1;

	if (!p)
		return;
	if (p->rx_runs) {
		if (!p->dead)
			kho_stream_bye(&p->s, 0, "closed", KHO_PEER_BYE_US);
		(void)!write(p->wake, &one, sizeof(one));
		pthread_join(p->rx, NULL);
	}
	while (p->pending) {
		struct kho_pending *w = p->pending;

		p->pending = w->next;
		kho_msg_free(w->reply);
		free(w);
	}
	kho_stream_done(&p->s);
	if (p->wake >= 0)
		close(p->wake);
	free(p->free_slots);
	pthread_cond_destroy(&p->cond);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

const char *kho_peer_release(const struct kho_peer *p)
{
	return p->release;
}

/* --- calls --- */

static int add_items(struct kho_report *r, const KhoLink__Reply *reply, struct kho_err *err)
{
	for (size_t i = 0; i < reply->n_items; i++) {
		const KhoLink__Item *it = reply->items[i];
		enum kho_verdict v =
			it->verdict <= KHO_V_NO ? (enum kho_verdict)it->verdict : KHO_V_UNKNOWN;

		if (kho_report_add(r, v, it->area, it->subject, it->fix, "%s", it->what))
			return kho_fail(err, -ENOMEM, "report of the incoming side");
	}
	return 0;
}

int kho_peer_op(struct kho_peer *p, const char *serializer, const char *op, const struct kho_blob *in, struct kho_report *r,
		const struct kho_until *until, uint64_t deadline_us, struct kho_err *err)
{
	KhoLink__Op o = KHO_LINK__OP__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT, *reply = NULL;
	int ret;

	o.serializer = (char *)serializer;
	o.op = (char *)op;
	if (in)
		set_bytes(&o.in, in->data, in->len);
	m.body_case = KHO_LINK__MSG__BODY_OP;
	m.op = &o;
	ret = kho_peer_call_with(p, &m, -1, until, deadline_us, &reply, err);
	if (!ret && r)
		ret = add_items(r, reply->reply, err);
	kho_msg_free(reply);
	return ret;
}

int kho_peer_cpu(struct kho_peer *p, uint32_t apicid, bool take, uint64_t deadline_us,
		 struct kho_err *err)
{
	KhoLink__Cpu c = KHO_LINK__CPU__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	c.apicid = apicid;
	c.take = take;
	m.body_case = KHO_LINK__MSG__BODY_CPU;
	m.cpu = &c;
	return kho_peer_call(p, &m, deadline_us, NULL, err);
}

int kho_peer_mem(struct kho_peer *p, uint64_t base, uint64_t bytes, bool adopt,
		 uint64_t deadline_us, struct kho_err *err)
{
	KhoLink__Mem mem = KHO_LINK__MEM__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	mem.phys = base;
	mem.bytes = bytes;
	mem.adopt = adopt;
	m.body_case = KHO_LINK__MSG__BODY_MEM;
	m.mem = &mem;
	return kho_peer_call(p, &m, deadline_us, NULL, err);
}

int kho_peer_commit(struct kho_peer *p, const struct kho_blob *record, uint64_t deadline_us,
		    struct kho_err *err)
{
	KhoLink__Commit c = KHO_LINK__COMMIT__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	if (record)
		set_bytes(&c.record, record->data, record->len);
	m.body_case = KHO_LINK__MSG__BODY_COMMIT;
	m.commit = &c;
	return kho_peer_call(p, &m, deadline_us, NULL, err);
}

int kho_peer_retiring(struct kho_peer *p, uint32_t last_apicid, uint64_t deadline_us,
		      struct kho_err *err)
{
	KhoLink__Retiring r = KHO_LINK__RETIRING__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	r.last_apicid = last_apicid;
	m.body_case = KHO_LINK__MSG__BODY_RETIRING;
	m.retiring = &r;
	return kho_peer_call(p, &m, deadline_us, NULL, err);
}

int kho_peer_entrust(struct kho_peer *p, const char *const *names, const struct kho_blob *record, bool complete,
		     uint64_t deadline_us, struct kho_err *err)
{
	KhoLink__Entrust e = KHO_LINK__ENTRUST__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	e.serializer = (char **)names;
	while (names[e.n_serializer])
		e.n_serializer++;
	set_bytes(&e.record, record->data, record->len);
	e.complete = complete;
	m.body_case = KHO_LINK__MSG__BODY_ENTRUST;
	m.entrust = &e;
	return kho_peer_call(p, &m, deadline_us, NULL, err);
}

int kho_peer_abandon(struct kho_peer *p, uint64_t deadline_us, struct kho_err *err)
{
	KhoLink__Abandon a = KHO_LINK__ABANDON__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	m.body_case = KHO_LINK__MSG__BODY_ABANDON;
	m.abandon = &a;
	return kho_peer_call(p, &m, deadline_us, NULL, err);
}

int kho_peer_fault(struct kho_peer *p, const char *kind, uint64_t deadline_us, struct kho_err *err)
{
	KhoLink__Fault f = KHO_LINK__FAULT__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT;

	f.kind = (char *)kind;
	m.body_case = KHO_LINK__MSG__BODY_FAULT;
	m.fault = &f;
	return kho_peer_call(p, &m, deadline_us, NULL, err);
}

int kho_peer_echo(struct kho_peer *p, const struct kho_blob *in, struct kho_blob *out,
		  uint64_t deadline_us, struct kho_err *err)
{
	KhoLink__Echo e = KHO_LINK__ECHO__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT, *reply = NULL;
	int ret;

	if (in)
		set_bytes(&e.data, in->data, in->len);
	m.body_case = KHO_LINK__MSG__BODY_ECHO;
	m.echo = &e;
	ret = kho_peer_call(p, &m, deadline_us, &reply, err);
	if (!ret && out) {
		out->len = reply->reply->data.len;
		out->data = steal_ptr(reply->reply->data.data);
		reply->reply->data.len = 0;
	}
	kho_msg_free(reply);
	return ret;
}
