/* SPDX-License-Identifier: GPL-2.0-only */
/* The rounds of precopy, which an upgrade and a canary's shadow have in common. */
#ifndef KHO_PRECOPY_H
#define KHO_PRECOPY_H

#include <stdbool.h>

#include "lib/err.h"

struct kho_upgrade;

#define KHO_SERIALIZERS_MAX 64u /* more than there are */

/*
 * Every serializer preserves, in rounds until none gains by another; the first round's blobs prepare the peer. *out_there: what failed, failed on the
 * peer. Inverse: kho_undo_precopy() (step_list.h).
 */
int kho_precopy_rounds(struct kho_upgrade *u, bool *out_there, struct kho_err *err) __must_check;

#endif
