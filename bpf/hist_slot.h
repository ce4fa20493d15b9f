/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The slots of a histogram: powers of two, each in four equal parts, so that a quantile is good to an eighth. One
 * definition for the programs in the kernel, which count, and for who reads what they counted.
 */
#ifndef KHO_BPF_HIST_SLOT_H
#define KHO_BPF_HIST_SLOT_H

#define KHO_HIST_SUB_BITS 2
#define KHO_HIST_SUBS	  (1u << KHO_HIST_SUB_BITS)
#define KHO_HIST_SLOTS	  256u /* every 64-bit value has one (252); a power of two, so that a mask is all that the verifier needs */

struct kho_hist {
	unsigned long long slot[KHO_HIST_SLOTS];
};

/* Which slot a value counts in. No loop: the verifier has nothing to unroll. */
static inline unsigned kho_hist_slot(unsigned long long value)
{
	unsigned long long v = value;
	unsigned e = 0;

	if (value < KHO_HIST_SUBS)
		return (unsigned)value;
	if (v >> 32) {
		e += 32;
		v >>= 32;
	}
	if (v >> 16) {
		e += 16;
		v >>= 16;
	}
	if (v >> 8) {
		e += 8;
		v >>= 8;
	}
	if (v >> 4) {
		e += 4;
		v >>= 4;
	}
	if (v >> 2) {
		e += 2;
		v >>= 2;
	}
	e += (unsigned)(v >> 1);
	return (e - 1) * KHO_HIST_SUBS + (unsigned)(value >> (e - KHO_HIST_SUB_BITS) & (KHO_HIST_SUBS - 1));
}

#endif
