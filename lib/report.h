/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A list of verdicts: what `khoctl check` prints and what decides whether an upgrade may begin.
 */
#ifndef KHO_LIB_REPORT_H
#define KHO_LIB_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

enum kho_verdict {
	KHO_V_OK,		/* can move / is there */
	KHO_V_LOSS,		/* moves with loss: `what` says which */
	KHO_V_UNKNOWN,		/* could not be found out: `what` says why */
	KHO_V_NO,		/* cannot: the upgrade is refused */
};

struct kho_report_item {
	enum kho_verdict verdict;
	char *area;		/* "image", "memory", "process", "device", "mount" ... */
	char *subject;		/* "redis pid 20001 fd 7", "0000:00:03.0 virtio-blk" */
	char *what;		/* "moves", "io_uring cannot be checkpointed" */
	char *fix;		/* what would help, or "" */
	char *workload;		/* name of the workload it is said of, or "": of the machine */
};

/* What is counted while looking: the length of a blackout is predicted from it (orchestrator/predict.h). */
enum kho_fact {
	KHO_FACT_SELFTEST_US,	/* one dump and restore of a small process on this machine */
	KHO_FACT_PROCESSES,	/* of all workloads */
	KHO_FACT_RESIDENT,	/* their memory, bytes */
	KHO_FACT_FUNCTIONS,	/* PCI functions that change hands */
	KHO_FACT_MOUNTS,	/* file systems mounted on them, each mount */
	KHO_FACT_CONNECTIONS,	/* established TCP connections of all workloads */
	KHO_FACT_CONTAINERS,	/* workloads that are containers: namespaces to be made again, and a CRIU among its mounts */
	KHO_NFACTS
};

struct kho_report {
	struct kho_report_item *items;
	size_t n;
	const char *workload;	/* items that are added now are said of this one; NULL: of the machine. Borrowed */
	uint64_t facts[KHO_NFACTS];
	char **restarted;	/* services that are no workload and run: the new init system starts them anew */
	size_t nrestarted;
};

#define KHO_REPORT_INIT { 0 }

/* Append one item; copies the strings (fix may be NULL). `what` is a format. 0 or -ENOMEM. Thread-safe: no. */
int kho_report_add(struct kho_report *r, enum kho_verdict v, const char *area, const char *subject,
		   const char *fix, const char *what_fmt, ...) __attribute__((format(printf, 6, 7)));

/* A KHO_V_NO item out of an error whose message is "what; fix". */
int kho_report_refuse(struct kho_report *r, const char *area, const char *subject, const struct kho_err *why);

/* Note a service that ends with this kernel and is started anew on the next one. 0 or -ENOMEM. */
int kho_report_restarted(struct kho_report *r, const char *unit);

/* "selftest_us", "processes" ...: as they are called in JSON */
const char *kho_fact_name(enum kho_fact f);

/* The worst verdict in the list (OK when empty). */
enum kho_verdict kho_report_worst(const struct kho_report *r);

/* What the first KHO_V_NO item says, the report's; NULL: there is none. */
const char *kho_report_first_no(const struct kho_report *r);

/* "ok", "loss", "unknown", "no" */
const char *kho_verdict_name(enum kho_verdict v);

/* Free the items. */
void kho_report_done(struct kho_report *r);

#endif
