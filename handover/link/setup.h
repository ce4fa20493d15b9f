/* SPDX-License-Identifier: GPL-2.0-only */
/* The request that tells the incoming side what it must know before anything else: over the link, or left for it (handover/kexec). */
#ifndef KHO_LINK_SETUP_H
#define KHO_LINK_SETUP_H

#include <stdint.h>

#include "handover/link/link.pb-c.h"
#include "handover/link/peer.h"

/* Gets the message, which lives as long as the call. */
typedef int kho_setup_fn(void *arg, KhoLink__Msg *m, struct kho_err *err);

/* Make it out of in and hand it to fn, whose result is the result. bulk_bytes, slot_bytes: of the link's bulk area. */
int kho_setup_make(const struct kho_peer_setup *in, uint32_t revision, uint64_t bulk_bytes, uint32_t slot_bytes, kho_setup_fn *fn, void *arg,
		   struct kho_err *err) __must_check;

#endif
