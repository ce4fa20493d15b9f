/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The blackout: one lane (thread) for each serializer runs freeze -> drain -> retrieve on the peer.
 *
 *   - a lane's freeze starts when the freezes of everything it `needs` have returned, its drain when
 *     those of its `drain_needs` have;
 *   - lanes with KHO_SER_LAST retrieve when all others have retrieved;
 *   - one lane's failure, or u->stop, lets every lane end after the operation it is in.
 *
 * The steps freeze, shift and restore are the places where the runner waits for the lanes.  The
 * threads are made in precopy, so that nothing is created in the blackout, and live until the
 * upgrade ends (a helper process started by one of them with a parent-death signal must not die
 * with its lane).
 */
#ifndef KHO_LANES_H
#define KHO_LANES_H

#include <stdbool.h>

#include "lib/err.h"

struct kho_upgrade;
struct kho_lanes;

/* Make the threads; they wait. */
int kho_lanes_new(struct kho_upgrade *u, struct kho_lanes **out, struct kho_err *err) __must_check;
/* Begin. */
void kho_lanes_start(struct kho_lanes *l);
/* Wait until all have frozen; until all but the last ones have retrieved; until all have. A lane's
 * failure comes out here. */
int kho_lanes_wait_frozen(struct kho_lanes *l, struct kho_err *err) __must_check;
int kho_lanes_wait_shifted(struct kho_lanes *l, struct kho_err *err) __must_check;
int kho_lanes_wait_restored(struct kho_lanes *l, struct kho_err *err) __must_check;
/*
 * Inverses, in falling order; each first stops the lanes. Discard what the peer has retrieved
 * (only_last: those with KHO_SER_LAST alone); unfreeze what was frozen (and discard what is still
 * there). First failure; of unfreeze, which discards first, one of its own before one of that.
 */
int kho_lanes_discard(struct kho_lanes *l, bool only_last, struct kho_err *err) __must_check;
int kho_lanes_unfreeze(struct kho_lanes *l, struct kho_err *err) __must_check;
/* End the threads; NULL is fine. false: one hangs and goes on using the lanes and the upgrade; they
 * are left. */
bool kho_lanes_free(struct kho_lanes *l);

#endif
