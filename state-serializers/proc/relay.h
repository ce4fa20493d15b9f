/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The relay between carried processes and what is to log for them: journald of the incoming kernel,
 * which starts only after they have been restored. Their sockets lead to the relay; it takes what
 * they write, connects as soon as somebody listens, and passes it on in their name.
 */
#ifndef KHO_PROC_RELAY_H
#define KHO_PROC_RELAY_H

#include "lib/workload.h"

#define KHO_ROLE_RELAY KHO_JOURNAL_COMM /* args: name of the workload; fd 3: control socket */

/*
 * A message on the control socket (SOCK_SEQPACKET), with one descriptor: kind, then the path of the
 * socket that is the target, '\n', then what is to be sent first on each connection to it.
 */
#define KHO_RELAY_STREAM   's' /* the descriptor is connected: a stream, which ends with its other end */
#define KHO_RELAY_DATAGRAM 'd' /* the descriptor is bound to the target's own path, until that is taken over */
#define KHO_RELAY_MESSAGE  4096
#define KHO_RELAY_LINES	   32 /* messages that one relay takes */

#define KHO_RELAY_BUFFER (4u << 20) /* bytes held for a target that does not read; then writers wait */

/* The role; the result is the exit status. */
int kho_relay_main(int argc, char **argv);

#endif
