/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two kernels and what changes hands between them, at the level of the module's rules: user space on either
 * side may ask for anything at any time, so messages and their loss do not matter here.  Each act is what the
 * code does, in its order: the check against the table (handover/uapi/khoctl_owner_table.h, made into macros by
 * tests/model/run), the physical act, the write into the ledger.  The other kernel acts between any two of
 * them; the incoming one may panic (and go on for a while on its other CPUs), hang, or halt in order, at any
 * point; the outgoing one may fence it, and may retire when everything is given.
 *
 * `held` is the truth: on whose behalf the thing works now.  Shown for every interleaving:
 *   - nobody begins to use what the other one uses (assertions in the acts);
 *   - when one kernel has ended, the other one can get everything (process survivor).
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
bool busy[2] = false;		/* the outgoing module's lock of a thing */

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

/* the outgoing module holds its lock through an act and through the fence; the incoming one is one act at a time */
#define BEGIN(G) atomic { runs[me] && (G) && (me == I || !busy[r]) -> if :: me == O -> busy[r] = true :: else fi }
#define END if :: me == O -> busy[r] = false :: else fi

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

/* spawn.c, stop(): INIT first, the ledger says FENCED when nothing of it runs any more */
proctype fence()
{
	byte me = O, r;

end:	atomic { runs[O] && !ended[I] && !busy[CPU] -> busy[CPU] = true };	/* functions are not under this lock */
#ifdef BUG_FENCED_TOO_EARLY
	ended[I] = true;
#endif
	atomic { runs[I] = false; if :: held[CPU] == I -> held[CPU] = PARK :: else fi }
	/* bus mastering off */
	atomic { if :: held[FN] == I -> held[FN] = PARK :: else fi }
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
	ended[I] = true;
	busy[CPU] = false
}

/* How the incoming kernel can come to its end by itself. */
proctype incoming_ends()
{
end:	if
	:: panicked[I] = true; runs[I] = false		/* the other CPUs stop later; nothing is given */
	:: runs[I] = false				/* hangs */
	:: true
	fi
}

/* The outgoing kernel has given everything, and goes: leave.c, may_retire() */
proctype retire()
{
end:	atomic { runs[O] && !busy[CPU] && !busy[FN] && owner[CPU] != O && owner[FN] != O && !ended[I] ->
		busy[CPU] = true; busy[FN] = true; runs[O] = false };
	ended[O] = true
}

#define HAS(r_) (owner[r_] == me)
#define CAN(r_) (owner[r_] == PARK || STOPPED)

/* One has ended and the other lives, with no act under way: all is there, or can be had. */
proctype survivor(byte me)
{
end:	atomic {
		ended[1 - me] && runs[me] && !busy[CPU] && !busy[FN] ->
		assert(held[CPU] != 1 - me && held[FN] != 1 - me);
		assert(HAS(CPU) || CAN(CPU));
		assert(HAS(FN) || CAN(FN))
	}
}

init
{
	atomic {
		run acts(O, CPU); run acts(O, FN); run acts(I, CPU); run acts(I, FN);
		run fence(); run incoming_ends(); run retire(); run survivor(O); run survivor(I)
	}
}
