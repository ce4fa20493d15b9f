// SPDX-License-Identifier: GPL-2.0-only
/*
 * The outgoing kernel's log, for the one that goes on: written into the head of the region when
 * this kernel retires, halts or panics, however it can still speak then.  What is newest goes in
 * when it does not fit.
 */
#include "kho.h"

#include <linux/kmsg_dump.h>

/* No locks, no memory: it may be the last thing this kernel does. May come again, more complete. */
void kho_dmesg_write(struct kho_region *r)
{
	struct kho_dmesg *d = r->head + KHO_OFF_DMESG;
	struct kmsg_dump_iter iter;
	size_t n = 0;

	if (r != &kho_down)
		return;
	kmsg_dump_rewind(&iter);
	if (kmsg_dump_get_buffer(&iter, false, d->data, sizeof(d->data), &n))
		smp_store_release(&d->bytes, (u64)n);
}
