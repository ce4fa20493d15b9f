/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The line between a lab's host and the agent in its VM: frames over a serial port that changes hands together with the machine.
 * A kernel may stop in the middle of a frame and the next one's agent takes over the line, so
 *   - every agent draws an epoch at its start; a frame of another epoch is ignored,
 *   - an agent begins with more zero bytes than a frame can have, so that the half frame before it is complete (and bad),
 *   - a reader that sees a bad frame searches for the next magic behind the bad one's first byte.
 * Nothing else can get lost: the UART's flow control is the socket's.
 */
#ifndef LAB_FRAME_H
#define LAB_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define LAB_MAGIC	0x4c684b16u	/* bytes 16 'K' 'h' 'L' */
#define LAB_DATA	1024		/* most bytes a frame can carry */

enum lab_type {
	/* host to agent */
	LAB_HELLO = 'H',	/* the BOOT was seen; no more of them */
	LAB_NEW = 'N',		/* forget the arguments collected so far for this id */
	LAB_ARGS = 'A',		/* more bytes of arguments (NUL-terminated strings) */
	LAB_EXEC = 'E',		/* run them */
	LAB_PUT = 'P',		/* arguments: path, octal mode; DATA frames follow, then END */
	LAB_GET = 'G',		/* arguments: path */
	LAB_END = 'F',
	LAB_CANCEL = 'K',
	/* agent to host */
	LAB_BOOT = 'B',		/* a new agent: payload is the kernel release; repeated until HELLO */
	LAB_STARTED = 'S',	/* the request was understood and runs */
	LAB_EXIT = 'X',		/* int32_t: exit status, 128 + signal; put and get: errno; then a text */
	/* both */
	LAB_BYTES = 'D',
};

struct lab_header {
	uint32_t magic, epoch, id;
	uint16_t len;
	uint8_t type, pad;
	uint32_t crc;		/* of header with crc = 0, and payload */
};
_Static_assert(sizeof(struct lab_header) == 20, "wire format");

#define LAB_FRAME_MAX	(sizeof(struct lab_header) + LAB_DATA)

/* What has been received and not been understood yet. */
struct lab_rx {
	uint8_t buf[16 * LAB_FRAME_MAX];
	size_t n;
};

/* Make a frame in out (LAB_FRAME_MAX bytes); returns its length. len is at most LAB_DATA. */
size_t lab_frame(uint8_t *out, uint32_t epoch, uint32_t id, enum lab_type type, const void *data, size_t len);

/*
 * Take the next good frame out of rx; garbage in front of it is dropped. Returns 1 (header and payload are copied out),
 * or 0: more bytes are needed. data has room for LAB_DATA bytes.
 */
int lab_next(struct lab_rx *rx, struct lab_header *h, uint8_t *data);

#endif
