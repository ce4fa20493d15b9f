// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the incoming kernel is asked to measure: gates, load, replays.  Its numbers are its own word.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handover/link/peer_impl.h"
#include "lib/cleanup.h"
#include "lib/format.h"

struct parts {
	KhoLink__Usual *usual, **at_usual;
	KhoLink__Device *device, **at_device;
};

static void parts_done(struct parts *q)
{
	free(q->usual);
	free(q->at_usual);
	free(q->device);
	free(q->at_device);
}

/* What is asked, as a message: its parts are the caller's, until it has been sent. */
static int fill(KhoLink__Ready *r, const struct kho_gate_ask *ask, struct parts *q, struct kho_err *err)
{
	q->usual = calloc(ask->nusual + 1, sizeof(*q->usual));
	q->at_usual = calloc(ask->nusual + 1, sizeof(*q->at_usual));
	q->device = calloc(ask->ndevices + 1, sizeof(*q->device));
	q->at_device = calloc(ask->ndevices + 1, sizeof(*q->at_device));
	if (!q->usual || !q->at_usual || !q->device || !q->at_device)
		return kho_fail(err, -ENOMEM, "gates");
	for (size_t i = 0; i < ask->nusual; i++) {
		kho_link__usual__init(q->at_usual[i] = &q->usual[i]);
		q->usual[i].pid = ask->usual[i].pid;
		q->usual[i].percent = ask->usual[i].percent;
	}
	for (size_t i = 0; i < ask->ndevices; i++) {
		kho_link__device__init(q->at_device[i] = &q->device[i]);
		q->device[i].alias = ask->devices[i].alias;
		q->device[i].driver = ask->devices[i].driver;
	}
	r->moment = ask->moment;
	r->usual = q->at_usual;
	r->n_usual = ask->nusual;
	r->devices = q->at_device;
	r->n_devices = ask->ndevices;
	return 0;
}

int kho_peer_gates(struct kho_peer *p, const struct kho_gate_ask *ask, const struct kho_gate_policy *policy, struct kho_gate_list *out,
		   uint64_t deadline_us, struct kho_err *err)
{
	_cleanup_(parts_done) struct parts parts = { NULL };
	KhoLink__Ready r = KHO_LINK__READY__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT, *reply = NULL;
	int ret = fill(&r, ask, &parts, err);

	*out = (struct kho_gate_list){ 0 };
	if (ret < 0)
		return ret;
	m.body_case = KHO_LINK__MSG__BODY_READY;
	m.ready = &r;
	ret = kho_peer_call(p, &m, deadline_us, &reply, err);
	for (size_t i = 0; !ret && i < reply->reply->n_gates; i++) {
		const KhoLink__Gate *g = reply->reply->gates[i];

		kho_gate_told(out, policy, g->name, g->known, g->value, g->what);
	}
	kho_msg_free(reply);
	return ret;
}

/* What the other kernel says it has counted, so that no sum of it overflows; and its words, printable. */
static void take_slots(const uint64_t *slot, size_t n, struct kho_hist *out)
{
	for (size_t i = 0; i < n; i++)
		out->slot[i] = slot[i] & UINT32_MAX;
}

static void take_text(const char *text, char *out, size_t len)
{
	snprintf(out, len, "%s", text);
	kho_format_text(out, (const volatile uint8_t *)out, strlen(out));
}

static int take_loaded(const KhoLink__Loaded *r, struct kho_load_result *out, struct kho_err *err)
{
	if (!r || r->n_slot > KHO_HIST_SLOTS)
		return kho_fail(err, -EPROTO, "the answer to 'load' has no histogram");
	out->known = r->known;
	out->errors = r->errors;
	take_text(r->what, out->what, sizeof(out->what));
	take_slots(r->slot, r->n_slot, &out->ns);
	return 0;
}

static int take_replayed(const KhoLink__Replayed *r, struct kho_replay_result *out, struct kho_err *err)
{
	if (!r || r->n_slot > KHO_HIST_SLOTS)
		return kho_fail(err, -EPROTO, "the answer to 'replay' has no histogram");
	*out = (struct kho_replay_result){ .known = r->known,
					   .requests = r->requests & UINT32_MAX,
					   .replies = r->replies & UINT32_MAX,
					   .other_length = r->other_length & UINT32_MAX,
					   .refused = r->refused & UINT32_MAX,
					   .cut = r->cut & UINT32_MAX,
					   .silent = r->silent & UINT32_MAX,
					   .strange = r->strange & UINT32_MAX,
					   .late = r->late & UINT32_MAX,
					   .timed = r->timed };
	take_text(r->what, out->what, sizeof(out->what));
	take_slots(r->slot, r->n_slot, &out->ns);
	return 0;
}

int kho_peer_replay(struct kho_peer *p, bool (*stop)(void *arg), void *arg, struct kho_replay_result *out, uint64_t deadline_us,
		    struct kho_err *err)
{
	const struct kho_until until = { stop, arg };
	KhoLink__Replay replay = KHO_LINK__REPLAY__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT, *reply = NULL;
	int ret;

	*out = (struct kho_replay_result){ 0 };
	m.body_case = KHO_LINK__MSG__BODY_REPLAY;
	m.replay = &replay;
	ret = kho_peer_call_with(p, &m, -1, &until, deadline_us, &reply, err);
	if (!ret)
		ret = take_replayed(reply->reply->replayed, out, err);
	kho_msg_free(reply);
	return ret;
}

int kho_peer_load(struct kho_peer *p, const struct kho_load *l, bool (*stop)(void *arg), void *arg, struct kho_load_result *out,
		  uint64_t deadline_us, struct kho_err *err)
{
	const struct kho_until until = { stop, arg };
	KhoLink__Load load = KHO_LINK__LOAD__INIT;
	KhoLink__Msg m = KHO_LINK__MSG__INIT, *reply = NULL;
	int ret;

	*out = (struct kho_load_result){ 0 };
	load.mix = (char *)(uintptr_t)kho_mixes[l->mix].name;
	if (l->command)
		load.command = (char *)(uintptr_t)l->command;
	load.cpus = l->cpus;
	load.us = l->us;
	m.body_case = KHO_LINK__MSG__BODY_LOAD;
	m.load = &load;
	ret = kho_peer_call_with(p, &m, -1, &until, deadline_us, &reply, err);
	if (!ret)
		ret = take_loaded(reply->reply->loaded, out, err);
	kho_msg_free(reply);
	return ret;
}
