/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two kernels and what changes hands between them, at the level of the module's rules: user space on either
 * side may ask for anything at any time, so messages and their loss do not matter here.  Each act is what the
 * code does, in its order: the check against the table (handover/uapi/khoctl_owner_table.h, made into macros by
 * tests/model/run), the physical act, the write into the ledger.  The other kernel acts between any two of
 * them; each one may panic (and go on for a while on its other CPUs) or hang at any point; each may fence the
 * other one at any time (user space has its reasons: a verdict, a signature), and the outgoing one may retire when everything is given.
 *
 * `held` is the truth: on whose behalf the thing works now.  Shown for every interleaving:
 *   - nobody begins to use what the other one uses (assertions in the acts);
 *   - when one kernel has ended, the other one can get everything (process survivor);
 *   - they never stop each other both.
 * BUG_* plant the mistakes that the run must find: see tests/model/run.
 */
#define O 0			/* the outgoing kernel */
#define I 1			/* the incoming one */
#define PARK 2
#define CPU 0			/* a parked CPU answers TEST: whoever wants it waits for that; one wake-up at a time */
#define FN 1			/* a PCI function: nothing answers, only the ledger tells */

byte owner[2] = O;		/* ledger, by thing */
byte to[2] = O;
byte held[2] = O;		/* truth */
bool ended[2] = false;		/* ledger: RETIRED, HALTED, FENCED */
bool panicked[2] = false;	/* ledger: says so itself */
bool runs[2] = true;		/* executes its acts */
bool busy[4] = false;		/* 2 * kernel + thing: its module's lock of a thing */
byte claimed = PARK;		/* the fence word of the mailbox: who stops the other one; PARK: nobody */
bool stopped[2] = false;	/* truth: by the other one's fence */
#define LOCK(m_, r_) busy[2 * m_ + r_]

#ifdef BUG_PANIC_IS_END
#define STOPPED (ended[1 - me] || panicked[1 - me])
#else
#define STOPPED ended[1 - me]
#endif

/*
 * `to` first where a thing is parked, last where it is owned, alone where it stays parked (the other one may
 * take it the moment `to` is written): region.c, kho_set_owner()
 */
inline write(o2, t2)
{
	if
#ifndef BUG_TWO_WRITES
	:: o2 == PARK && owner[r] == PARK -> atomic { runs[me] -> to[r] = t2 }
	:: o2 == PARK && owner[r] != PARK ->
#else
	:: o2 == PARK ->
#endif
	  atomic { runs[me] -> to[r] = t2 }; atomic { runs[me] -> owner[r] = o2 }
	:: o2 != PARK -> atomic { runs[me] -> owner[r] = o2 }; atomic { runs[me] -> to[r] = t2 }
	fi
}

inline use(AFTER, TO)
{
	if
	:: r == FN -> atomic { runs[me] -> assert(held[r] != 1 - me); held[r] = me }; write(AFTER, TO)
	:: r == CPU -> if
		:: atomic { runs[me] && held[r] == PARK -> held[r] = me }; write(AFTER, TO)
		:: runs[me] && held[r] != PARK		/* no answer in time: nothing was done */
		fi
	fi
}

/* a module holds its lock through an act, that of the CPUs through the fence, too */
#define BEGIN(G) atomic { runs[me] && (G) && !LOCK(me, r) -> LOCK(me, r) = true }
#define END LOCK(me, r) = false

proctype acts(byte me; byte r)
{
end:	do
	:: BEGIN(MAY_GIVE) -> atomic { runs[me] -> held[r] = PARK }; write(AFTER_GIVE, TO_GIVE); END
	:: BEGIN(MAY_TAKE) -> use(AFTER_TAKE, TO_TAKE); END
	:: me == I -> BEGIN(MAY_RETURN) -> write(AFTER_RETURN, TO_RETURN); END
	:: BEGIN(MAY_RECLAIM) -> use(AFTER_RECLAIM, TO_RECLAIM); END
	:: BEGIN(MAY_INHERIT) -> use(AFTER_INHERIT, TO_INHERIT); END
	od
}

/*
 * fence.c, stop(): the claim, so that only one of them does it; INIT (or NMI) first, the ledger says FENCED when nothing of it
 * runs any more
 */
proctype fence(byte me)
{
	byte r;

end:	atomic { runs[me] && !ended[1 - me] && !LOCK(me, CPU) -> LOCK(me, CPU) = true };	/* functions are not under this lock */
#ifndef BUG_NO_CLAIM
	if
	:: atomic { runs[me] && claimed == PARK -> claimed = me }
	:: atomic { runs[me] && claimed == 1 - me -> LOCK(me, CPU) = false; goto end }
	fi;
#endif
#ifdef BUG_FENCED_TOO_EARLY
	ended[1 - me] = true;
#endif
	runs[me];		/* INIT is sent; it arrives, whatever becomes of the sender meanwhile */
	atomic {
		runs[1 - me] = false; stopped[1 - me] = true; assert(!stopped[me]);
		if :: held[CPU] == 1 - me -> held[CPU] = PARK :: else fi
	}
	/* bus mastering off */
	atomic { runs[me] -> if :: held[FN] == 1 - me -> held[FN] = PARK :: else fi }
	r = CPU;
	do
	:: r <= FN ->
		if
		:: MAY_FENCE -> write(AFTER_FENCE, TO_FENCE)
		:: !(MAY_FENCE) && MAY_FENCEPK -> write(AFTER_FENCEPK, TO_FENCEPK)
		:: else
		fi;
		r++
	:: else -> break
	od;
#ifdef BUG_PANIC_STAYS
	/* one that panicked is not known to be parked, for ever */
	atomic { runs[me] -> if :: !panicked[1 - me] -> ended[1 - me] = true :: else fi };
#else
	atomic { runs[me] -> ended[1 - me] = true };
#endif
	LOCK(me, CPU) = false
}

/* How a kernel can come to its end by itself; somebody lives. */
proctype ends()
{
	byte me;

	if :: me = O :: me = I fi;
end:	if
	:: panicked[me] = true; runs[me] = false	/* the other CPUs stop later; nothing is given */
	:: runs[me] = false				/* hangs */
	:: true
	fi
}

/* The outgoing kernel has given everything, and goes: leave.c, may_retire() */
proctype retire()
{
end:	atomic { runs[O] && !LOCK(O, CPU) && !LOCK(O, FN) && owner[CPU] != O && owner[FN] != O && !ended[I] ->
		LOCK(O, CPU) = true; LOCK(O, FN) = true; runs[O] = false };
	ended[O] = true
}

#define HAS(r_) (owner[r_] == me)
#define CAN(r_) (STOPPED || (owner[r_] == PARK && to[r_] == me))

/* One has ended, or was fenced, and the other lives, with no act under way: all is there, or can be had. */
proctype survivor(byte me)
{
end:	atomic {
		(ended[1 - me] || stopped[1 - me]) && runs[me] && !LOCK(me, CPU) && !LOCK(me, FN) ->
		assert(held[CPU] != 1 - me && held[FN] != 1 - me);
		assert(HAS(CPU) || CAN(CPU));
		assert(HAS(FN) || CAN(FN))
	}
}

init
{
	atomic {
		run acts(O, CPU); run acts(O, FN); run acts(I, CPU); run acts(I, FN);
		run fence(O); run fence(I); run ends(); run retire(); run survivor(O); run survivor(I)
	}
}
