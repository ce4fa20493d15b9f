// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: what is read for a replay. Input: which (one byte), then a message; or packets, as pieces (whether it is to the server, one byte, and the packet), of which what is
 * recorded must be a message that can be read; or the kernel's table of TCP sockets.
 */
#include "bpf/replay_parts.h"
#include "fuzz.h"
#include "lib/cleanup.h"

static void message(const uint8_t *data, size_t size, bool must)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_replay r;
	size_t bytes = 0;
	int rc = kho_replay_parse(data, size, &r, &err);

	fuzz_check(rc == 0 || (!must && *err.msg && !r.conn && !r.rq));
	for (size_t i = 0; rc == 0 && i < r.n; i++)
		for (size_t j = 0; j < r.conn[i].n; j++) {
			const struct kho_replay_request *rq = &r.conn[i].rq[j];

			fuzz_check(rq->data >= data && rq->data + rq->bytes <= data + size && rq->reply_bytes);
			bytes += rq->bytes;
		}
	fuzz_check(bytes <= size);
	kho_replay_done(&r);
}

static void packets(struct fuzz_in in)
{
	struct kho_replay_recorded out = KHO_REPLAY_RECORDED_INIT;
	struct kho_streams *s = kho_streams_new(true, 0, NULL);
	struct kho_hist h = { 0 };
	uint64_t ns = 0;

	fuzz_check(s);
	while (in.size > 2) {
		struct fuzz_in p = fuzz_piece(&in);
		struct kho_segment g;

		if (!p.size || !kho_segment_parse(p.data + 1, p.size - 1, p.data[0] & 1, &g) || !g.server.port)
			continue;
		fuzz_check(g.data + g.have <= p.data + p.size && g.have <= g.len);
		g.ns = ns += 1000;
		kho_streams_add(s, &g);
	}
	kho_streams_times(s, &h);
	fuzz_check(kho_replay_pack(s, ns / 1000, &out, NULL) == 0 && kho_hist_count(&h) <= out.requests);
	if (out.message)
		message(out.message, out.len, true);
	kho_replay_recorded_done(&out);
	kho_streams_free(s);
}

static void table(const uint8_t *data, size_t size)
{
	static const uint64_t inodes[] = { 11, 12, 13 };
	_cleanup_free_ char *text = strndup((const char *)data, size);
	struct kho_replay_listeners l = { 0 };

	if (text && kho_replay_listeners_parse(text, size % 2 ? 4 : 6, inodes, 3, &l, NULL) == 0)
		fuzz_check(l.nports <= l.n && (!l.n || l.a[l.n - 1].port));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size && data[0] % 3 == 0)
		message(data + 1, size - 1, false);
	else if (size && data[0] % 3 == 1)
		packets((struct fuzz_in){ data + 1, size - 1 });
	else if (size)
		table(data + 1, size - 1);
	return 0;
}
