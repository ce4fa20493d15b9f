/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR BSD-3-Clause */
/*
 * Who may do what with a CPU or a PCI function of the ledger: khoctl_owner_table.h as code.  Compiles alone.
 */
#ifndef KHOCTL_OWNER_H
#define KHOCTL_OWNER_H

#include "khoctl_region.h"

enum kho_act {
#define X(NAME, owner, to, peer, owner_after, to_after) KHO_ACT_##NAME,
#include "khoctl_owner_table.h"
#undef X
};

/*
 * May the kernel `self` (KHO_OWNER_OUTGOING or _INCOMING) do it with a thing whose entry in the ledger reads owner, to?
 * peer_ended: the other kernel's CPUs are known to be parked.  Return: 1 or 0.
 */
static inline int kho_owner_may(enum kho_act act, unsigned int self, unsigned int owner, unsigned int to, int peer_ended)
{
	const unsigned int SELF = self, PEER = KHO_OWNER_INCOMING - self, PARK = KHO_OWNER_PARK;
	const unsigned int ANY = ~0u, STOPPED = 1;

	switch (act) {
#define X(NAME, owner_, to_, peer_, owner_after, to_after)                                    \
	case KHO_ACT_##NAME:                                                                   \
		return owner == (owner_) && ((to_) == ANY || to == (to_)) &&                  \
		       ((peer_) == ANY || ((peer_) == STOPPED && peer_ended));
#include "khoctl_owner_table.h"
#undef X
	}
	return 0;
}

#endif
