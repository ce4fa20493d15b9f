/* SPDX-License-Identifier: (GPL-2.0-only WITH Linux-syscall-note) OR BSD-3-Clause */
/*
 * X(NAME, owner, to, peer, owner after, to after): how a CPU or a PCI function may change hands, as seen by the kernel
 * that acts (SELF); everything else is refused.  One table for the module (khoctl_owner.h) and for the model of the protocol
 * (tests/model/ownership.pml), which shows that it leaves nothing with two owners.
 *
 *   owner, to   SELF, PEER, PARK; ANY: not looked at
 *   peer        in which state the other kernel must be: ANY; STOPPED: its CPUs are known to be parked (it retired, halted
 *               in order, or was fenced); a kernel that says of itself that it panicked is not: it may still run on others
 *
 *   GIVE     parked (CPU) or quiet (function), the other may take it
 *   TAKE     was given to us
 *   RETURN   was given to us and not taken: as it is
 *   RECLAIM  was given by us to somebody who will not take it any more
 *   INHERIT  belonged to somebody who has ended without giving it
 *   FENCE    stopped by INIT together with everything the peer has (KHO_IOC_STOP), or alone (KHO_CPU_FENCE)
 *   FENCEPK  the same for what the peer may be taking at this moment
 */
#ifdef X
X(GIVE,    SELF, ANY,  ANY,     PARK, PEER)
X(TAKE,    PARK, SELF, ANY,     SELF, SELF)
X(RETURN,  PARK, SELF, ANY,     PARK, PEER)
X(RECLAIM, PARK, PEER, STOPPED, SELF, SELF)
X(INHERIT, PEER, ANY,  STOPPED, SELF, SELF)
X(FENCE,   PEER, ANY,  ANY,     PARK, SELF)
X(FENCEPK, PARK, PEER, ANY,     PARK, SELF)
#endif
