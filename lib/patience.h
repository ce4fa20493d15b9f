/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How long is waited for another program of this machine (CRIU, conmon, a container's shim, systemd) where nobody stands still
 * meanwhile, or where not to wait would leave the machine to a person. What answers at all answers in milliseconds; on a machine
 * that is overloaded, or emulated, in many seconds (conmon's start: 31 s seen, on two emulated CPUs that two machines share).
 * Only a failure waits so long, and every step has its own deadline above it (orchestrator/steps.c).
 */
#ifndef KHO_LIB_PATIENCE_H
#define KHO_LIB_PATIENCE_H

#define KHO_PATIENCE_US 60000000ull
#define KHO_PATIENCE_MS (KHO_PATIENCE_US / 1000)

#endif
