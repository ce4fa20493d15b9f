/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls of a containerd shim over its UNIX socket (ttrpc: github.com/containerd/ttrpc, PROTOCOL.md): frames of a header of ten
 * bytes (length, stream, kind, flags; big endian) and a message.
 */
#ifndef KHO_PROC_TTRPC_H
#define KHO_PROC_TTRPC_H

#include "state-serializers/common.h"
#include "state-serializers/proc/containerd.pb-c.h"

struct kho_ttrpc {
	int sk;
	const char *service, *ns; /* borrowed: "containerd.task.v2.Task", containerd's namespace */
	uint32_t stream;	  /* of the last call; odd */
};

#define KHO_TTRPC_INIT { .sk = -1 }

/* Largest message (ttrpc's own limit). */
#define KHO_TTRPC_MAX_BYTES (4u << 20)

/* Connect to the socket at path, which may be longer than a socket's address can be. */
int kho_ttrpc_connect(struct kho_ttrpc *t, const char *path, struct kho_err *err) __must_check;
void kho_ttrpc_close(struct kho_ttrpc *t);

/* Ask; the answer is waited for with kho_ttrpc_answer(). */
int kho_ttrpc_ask(struct kho_ttrpc *t, const char *method, const ProtobufCMessage *m, struct kho_err *err) __must_check;

/*
 * The answer to the last call (*out: kho_pb_unpack()ed as d, the caller's), when its frame begins within timeout_us.
 * -EREMOTEIO: the shim says no, err has its words. -EPROTO: it is no answer.
 */
int kho_ttrpc_answer(struct kho_ttrpc *t, const ProtobufCMessageDescriptor *d, uint64_t timeout_us, void *out,
		     struct kho_err *err) __must_check;

/* Both. */
int kho_ttrpc_call(struct kho_ttrpc *t, const char *method, const ProtobufCMessage *m, const ProtobufCMessageDescriptor *d,
		   uint64_t timeout_us, void *out, struct kho_err *err) __must_check;

/* A frame out of its bytes: the answer's payload to stream (malloc'd). As kho_ttrpc_answer(). */
int kho_ttrpc_parse(const uint8_t *frame, size_t len, uint32_t stream, struct kho_blob *out, struct kho_err *err) __must_check;

#endif
