/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A recording: how workloads have run on one kernel for some seconds. What `khoctl record` writes and `khoctl compare` reads (docs/formats.md);
 * recorder.h makes one.
 */
#ifndef KHO_BPF_RECORDING_H
#define KHO_BPF_RECORDING_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bpf/gate.h"
#include "bpf/hist.h"
#include "bpf/record_map.h"
#include "lib/err.h"

#define KHO_RECORDING_BYTES  (4u << 20) /* a file is at most so long */
#define KHO_RECORDING_SLICES 3600u	/* of a second */

enum kho_metric_kind { KHO_METRIC_KIND_CALL, KHO_METRIC_KIND_TIME, KHO_METRIC_KIND_RATE };

/* Who counts it: programs that are loaded together, so that one that the kernel refuses takes no other part with it; PROC: none. */
enum kho_record_part { KHO_RECORD_TASKS, KHO_RECORD_BLOCK, KHO_RECORD_TCP, KHO_RECORD_PROC, KHO_RECORD_NPARTS };

struct kho_metric_info {
	enum kho_gate_id gate;
	enum kho_metric_kind kind;
	enum kho_record_part part;
	uint64_t floor;
};
extern const struct kho_metric_info kho_metrics[KHO_NMETRICS];

/* Its gate's: "read". Static. */
const char *kho_metric_name(enum kho_metric m);

/* What was counted in some time, a second or so. */
struct kho_slice {
	uint64_t us;	   /* how long it was */
	uint64_t replies;  /* calls that write or send, 0 where TASKS is unknown: what the rates are of */
	uint64_t switches; /* from threads of the workloads; likewise */
	uint64_t cpu_ns, faults; /* of their processes */
	uint64_t segments, retrans; /* TCP, of the network namespace of the first one */
};

struct kho_recording {
	char kernel[128];
	char workloads[512]; /* their names, with commas */
	int64_t time;	     /* wall clock at its begin, s since 1970 */
	uint64_t us;	     /* how long it took */
	uint64_t restarts;   /* main processes that ended meanwhile */
	uint64_t lost;	     /* threads that were not counted: too many */
	char why[KHO_RECORD_NPARTS][256]; /* why a part is unknown; "": it is known */
	struct kho_hist times[KHO_NMETRICS]; /* of rates: nothing */
	struct kho_slice *slices;
	size_t n;
};

/* As JSON text's object. */
struct json_object *kho_recording_json(const struct kho_recording *r);
/*
 * The inverse. -EINVAL: it is none, and says where: a member is missing, of another type, negative, out of order or too large, or the kernel's name is not
 * printable. Members that are not known are ignored. *out is nothing then; else the caller's (kho_recording_done).
 */
int kho_recording_parse(const char *text, size_t len, struct kho_recording *out, struct kho_err *err) __must_check;

/* Write it (0600, whole or absent), read it. Errors name the file. */
int kho_recording_save(const struct kho_recording *r, const char *path, struct kho_err *err) __must_check;
int kho_recording_load(const char *path, struct kho_recording *out, struct kho_err *err) __must_check;

void kho_recording_done(struct kho_recording *r);
#define _cleanup_recording_ __attribute__((cleanup(kho_recording_done)))

#endif
