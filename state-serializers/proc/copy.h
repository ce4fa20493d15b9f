/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A copy of workloads, on a kernel that is only tried (Plan.copy): they go on where they are, and so do their connections. That
 * kernel has no network but loopback. It gets the addresses of the machine that the workloads come from, so that sockets can be
 * bound to them; what is sent to others goes there, too, and is lost (over IPv6 they are unreachable).
 */
#ifndef KHO_PROC_COPY_H
#define KHO_PROC_COPY_H

#include "lib/err.h"
#include "state-serializers/proc.pb-c.h"

/*
 * Outgoing: this machine's addresses, but for those of loopback and of one link alone, into p, which has none yet. Free them
 * with the second one, also after -ENOMEM.
 */
int kho_copy_addresses(KhoProc__Plan *p, struct kho_err *err) __must_check;
void kho_copy_addresses_done(KhoProc__Plan *p);

/*
 * Incoming, in our network namespace: its loopback as the copy needs it. It stays so as long as this kernel is there. -EBUSY: an
 * interface other than loopback is up, and what is restored here would be seen outside.
 */
int kho_copy_network(const KhoProc__Plan *p, struct kho_err *err) __must_check;

#endif
