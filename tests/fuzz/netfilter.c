// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: kept messages of the packet filter on their way to a transaction that would be sent, and a
 * dumped connection on its way to the request that makes it. The files themselves are taken in for what is static
 * in them. Input: a rule set; the same bytes as a dumped connection.
 */
#include "fuzz.h"

#include "state-serializers/netfilter-load.c"
#undef GEN
#undef BIT
#include "state-serializers/netfilter-ct.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kho_blob blob = { .data = (void *)(uintptr_t)data, .len = size };
	struct kho_err err = KHO_ERR_INIT;
	Kho__NetRuleset *r = kho_pb_unpack(&kho__net_ruleset__descriptor, &blob, &err);
	ProtobufCBinaryData msg = { size, (void *)(uintptr_t)data };

	if (r) {
		for (int devices = 0; devices < 2; devices++) {
			struct batch b = { 0 };
			int left, ret = build(&b, r, devices);
			const struct nlmsghdr *h = (void *)b.buf;

			/* whatever came in, what goes out is whole messages */
			for (left = (int)b.len; left; h = mnl_nlmsg_next(h, &left))
				fuzz_check(mnl_nlmsg_ok(h, left));
			fuzz_check(ret <= 0);
			free(b.buf);
		}
		(void)!kho_nft_names_devices(r);
		kho__net_ruleset__free_unpacked(r, NULL);
	}
	if (size >= GEN && size <= 4096) {
		_cleanup_free_ char *buf = calloc(1, 16384);
		struct nlmsghdr *out = mnl_nlmsg_put_header(buf);

		mnl_nlmsg_put_extra_header(out, GEN);
		if (make_request(out, &msg))
			fuzz_check(out->nlmsg_len <= 16384);
	}
	return 0;
}
