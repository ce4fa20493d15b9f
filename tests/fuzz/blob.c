// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: the serializers' messages as they come from the other kernel: unpacked, packed
 * again, and checked where a serializer checks.  Input: which message (one byte), its bytes.
 */
#include "fuzz.h"
#include "state-serializers/block.pb-c.h"
#include "state-serializers/clock.pb-c.h"
#include "state-serializers/common.h"
#include "state-serializers/files.pb-c.h"
#include "state-serializers/host-sysctl.h"
#include "state-serializers/netdev.pb-c.h"
#include "state-serializers/proc.pb-c.h"
#include "state-serializers/units.pb-c.h"

static void take(const ProtobufCMessageDescriptor *d, const struct kho_blob *b)
{
	struct kho_blob again = { 0 }, twice = { 0 };
	struct kho_err err = KHO_ERR_INIT;
	ProtobufCMessage *m = kho_pb_unpack(d, b, &err), *n;

	if (!m) {
		fuzz_check(*err.msg);
		return;
	}
	/* what an older kernel does not know goes through it */
	fuzz_check(kho_pb_pack(m, &again, &err) == 0);
	n = kho_pb_unpack(d, &again, &err);
	fuzz_check(n && kho_pb_pack(n, &twice, &err) == 0);
	fuzz_check(again.len == twice.len &&
		   (!again.len || !memcmp(again.data, twice.data, again.len)));
	if (d == &kho__host__descriptor) {
		const Kho__Host *h = (const Kho__Host *)m;
		bool late;

		for (size_t i = 0; i < h->n_sysctl; i++)
			(void)!kho_sysctl_is_carried(h->sysctl[i]->key, &late);
	}
	protobuf_c_message_free_unpacked(m, NULL);
	protobuf_c_message_free_unpacked(n, NULL);
	kho_blob_done(&again);
	kho_blob_done(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const ProtobufCMessageDescriptor *const all[] = {
		&kho__block__descriptor,      &kho__netdev__descriptor, &kho__host__descriptor,
		&kho__clock__descriptor,      &kho__files__descriptor,	&kho_proc__plan__descriptor,
		&kho_proc__state__descriptor, &kho__units__descriptor,
	};
	struct kho_blob b = { .data = (void *)(uintptr_t)(data + 1), .len = size - 1 };

	if (!size)
		return 0;
	take(all[data[0] % KHO_ARRAY_SIZE(all)], &b);
	return 0;
}
