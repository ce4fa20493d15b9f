/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside of the agent, shared by agent*.c.
 *
 * Threads: the one that runs kho_agent_run receives and does what is short; everything that may
 * take long runs on workers, each request on its own, as many at once as come in.  A worker never
 * ends before the agent does: a child made with PR_SET_PDEATHSIG dies with the THREAD that made it.
 */
#ifndef KHO_INCOMING_AGENT_IMPL_H
#define KHO_INCOMING_AGENT_IMPL_H

#include <pthread.h>

#include "handover/incoming/agent.h"
#include "handover/link/fault.h"
#include "lib/report.h"

struct json_object;
struct kho_agent;

struct kho_request {
	struct kho_request *next;
	KhoLink__Msg *m;
	KhoLink__Reply reply; /* fn may set items, gates, loaded, replayed and data; error, text, duration are set for it */
	struct kho_report report; /* of verify */
	uint64_t begin_us;
};

typedef int kho_request_fn(struct kho_agent *a, struct kho_request *rq, struct kho_err *err);

struct kho_pool {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct kho_request *head, **tail;
	pthread_t *threads;
	unsigned nthreads, idle;
	bool quit;
};

struct kho_ser_slot { /* one serializer's operations, one at a time */
	struct kho_ser_slot *next;
	const struct kho_serializer *ser;
	pthread_mutex_t busy;
	bool dark; /* retrieve has run, discard not yet */
	struct kho_ser_done *done;
	struct kho_err tidy; /* why it failed in this process */
	_Atomic uint64_t discarded; /* number of the last request for that; who asked for a retrieve before it does not want it any more */
};

struct kho_agent_file;

/*
 * What one setup told us. A later setup (the process on the other side was replaced) makes another;
 * a request of an earlier one may still look at the old, so all live as long as the agent.
 */
struct kho_agent_told {
	struct kho_agent_told *earlier;
	struct kho_workload_list workloads;
	char *run_dir, *images_dir, *after_commit, *watch;
	int images_fd;
	const uint8_t *bulk;
	uint64_t bulk_bytes;
	uint32_t slot_bytes;
	bool root_in_ram;
};

/* For the end of the outgoing side before the upgrade is through. */
struct kho_entrusted {
	char **names; /* serializers, in order */
	size_t n;
	bool complete; /* and we may */
	char *journal; /* the other side's, then ours behind it */
	size_t len;
};

struct kho_agent {
	const struct kho_agent_conf *conf;
	struct kho_stream s;
	struct kho_link_faults faults; /* of what we send, when a test has asked for them */
	struct kho_seen seen; /* requests of this session; the receiving thread's */
	struct kho_pool pool;
	struct kho_env env;
	pthread_mutex_t lock; /* all below but machine_lock */
	bool session; /* a process on the other side has knocked, and its session has not ended */
	bool set_up, retiring;
	_Atomic bool committed;
	_Atomic uint64_t commit_us;
	struct kho_agent_told *told; /* NULL before the first setup */
	struct kho_agent_file *files;
	struct kho_ser_slot *sers;
	uint32_t last_apicid;
	bool has_last;
	pthread_t retire_thread;
	unsigned init_fds; /* given to PID 1 so far */
	struct kho_entrusted trust;
	const volatile struct kho_ledger *ledger; /* NULL: cannot be read */
	_Atomic bool alone; /* nobody listens on the link */
	const char *outgoing_end; /* how the outgoing kernel ended, as first seen; NULL: it has not */
	uint64_t beats;
	uint64_t watch_us; /* when to look again */
	unsigned still, closed; /* looks at it without a beat, without an open link */
	bool handed;			/* it came by kexec: phases go into the journal, nobody else has it */
	pthread_mutex_t journal_lock;
	pthread_mutex_t machine_lock; /* CPU and memory hot-plug: one act at a time */
	pid_t deputy;			/* of this process, from the commit on; 0: none */
	void (*carry_on)(struct kho_agent *a); /* what is left to do after the commit, to its end */
};

/* agent.c */
void kho_agent_init(struct kho_agent *a, const struct kho_agent_conf *conf);
void kho_agent_done(struct kho_agent *a);
int kho_agent_serve(struct kho_agent *a, struct kho_request *rq); /* run and answer; frees rq */
int kho_agent_send(struct kho_agent *a, const KhoLink__Msg *m);
/* To whoever listens: this process is the agent. */
int kho_agent_hello(struct kho_agent *a);

/* agent_deputy.c */
/* Sign: the deputy stands by, the ledger and PID 1 know it. On failure nothing is signed. */
int kho_agent_sign(struct kho_agent *a, struct kho_err *err) __must_check;
/* All is done: the deputy goes. */
void kho_agent_deputy_end(struct kho_agent *a);

/* agent_pool.c */
int kho_pool_init(struct kho_pool *p, struct kho_err *err) __must_check;
/* Hand rq to an idle worker; makes one more when all are busy. */
void kho_pool_put(struct kho_pool *p, struct kho_request *rq);
/* Until no request is queued or under way: 0, or -ETIMEDOUT. */
int kho_pool_wait(struct kho_pool *p, uint64_t deadline_us) __must_check;
/* Finish what is queued and join all workers. */
void kho_pool_done(struct kho_pool *p);

/* agent_setup.c */
kho_request_fn kho_agent_setup;
void kho_agent_told_free(struct kho_agent_told *t);

/* agent_ops.c */
/* The slot of a serializer, made at its first use; NULL: out of memory, or too many. */
struct kho_ser_slot *kho_agent_slot(struct kho_agent *a, const struct kho_serializer *ser);
kho_request_fn kho_agent_op, kho_agent_cpu, kho_agent_mem, kho_agent_commit, kho_agent_abandon,
	kho_agent_echo, kho_agent_ready, kho_agent_load, kho_agent_replay;

/* Where the journal goes, made if missing: of the carried root where there is one. malloc'd. */
int kho_agent_state_dir(const struct kho_agent *a, char **out, struct kho_err *err) __must_check;

/* agent_fault.c */
kho_request_fn kho_agent_fault;
/* One of a->faults has struck. arg: the agent */
void kho_agent_fault_fired(void *arg, const char *name);

/* agent_env.c */
extern const struct kho_env_ops kho_agent_env_ops;

/* agent_file.c */
kho_request_fn kho_agent_file_put, kho_agent_file_batch, kho_agent_file_begin, kho_agent_file_chunk, kho_agent_file_end,
	kho_agent_file_abort;
/* Drop all unfinished files. */
void kho_agent_files_drop(struct kho_agent *a);

/* agent_log.c */
/* A kernel that has panicked gets a moment to write its log, before the CPU that does so is stopped. */
void kho_agent_wait_log(struct kho_agent *a);
/* Keep the ended outgoing kernel's log as a file beside the journal; a failure is told. */
void kho_agent_keep_log(struct kho_agent *a, uint32_t generation, const char *release);

/* agent_alone.c */
kho_request_fn kho_agent_entrust;
#define KHO_AGENT_TICK_US 250000
/* Every tick: true when the outgoing kernel is silent and there is something to complete. */
bool kho_agent_watch(struct kho_agent *a);
/* The outgoing kernel has ended (outgoing_end) before the commit: sign for both and do the rest, or keep quiet. */
void kho_agent_complete(struct kho_agent *a);
/* Committed, and the outgoing side does no more (why): what is left of finish and tidy. */
void kho_agent_rest(struct kho_agent *a, const char *why);
/* The journal as the other side has it now. */
int kho_agent_keep_journal(struct kho_agent *a, const void *data, size_t len, struct kho_err *err) __must_check;
/* An operation of one serializer, whose report must be without a "no". deadline_us: so long it waits until an earlier one has ended; 0: for ever. */
int kho_agent_one_op(struct kho_agent *a, const char *name, const char *what, uint64_t deadline_us, struct kho_err *err) __must_check;
/* This side signs for both, in the journal and in its state; PID 1 knows it, too. */
int kho_agent_sign_alone(struct kho_agent *a, struct kho_err *err) __must_check;
/* An operation of every serializer that was entrusted, and that has not done it; with flag: of those that have it, or (!with) have not. */
int kho_agent_op_all(struct kho_agent *a, const char *what, unsigned flag, bool with, struct kho_err *err) __must_check;
/* finish (the gate first) and tidy; *gate_us: when the network was released. */
int kho_agent_do_rest(struct kho_agent *a, uint64_t *gate_us, struct kho_err *err) __must_check;
void kho_entrusted_done(struct kho_entrusted *t);

/* agent_journal.c: what nobody else writes down, added to trust.journal. Any thread. */
void kho_agent_note(struct kho_agent *a, struct json_object *record);
void kho_agent_note_phase(struct kho_agent *a, const char *name, uint64_t begin_us, uint64_t end_us);
void kho_agent_note_takeover(struct kho_agent *a, const char *why);
/* end 0: it has only begun */
void kho_agent_note_blackout(struct kho_agent *a, uint64_t begin, uint64_t end);
void kho_agent_note_end(struct kho_agent *a, const char *outcome, const char *msg);
#define KHO_OUTCOME(ret) ((ret) < 0 ? "needs a person" : "upgraded")
/* When the outgoing kernel said that the blackout began; 0: it has not. */
uint64_t kho_agent_frozen_us(const volatile struct kho_ledger *l);
/* Its file here, malloc'd, in a folder that is there. */
int kho_agent_journal_path(const struct kho_agent *a, char **out, struct kho_err *err) __must_check;
/* Into that file. */
int kho_agent_save(struct kho_agent *a, struct kho_err *err) __must_check;
/* Behind the end, and the kernel log: something was not restored. Into the file itself, which may have more than this process knows (of a deputy's agent). */
void kho_agent_note_loss(struct kho_agent *a, const char *what);

/* agent_retire.c */
/* The upgrade is through: status file, the commands that were asked for, PID 1 enters the carried root. */
void kho_agent_go_on(struct kho_agent *a, const char *outgoing, const char *how);
kho_request_fn kho_agent_retiring;
/* How the outgoing kernel has ended ("retired", "panicked" ...), or NULL. */
const char *kho_agent_ended(const volatile struct kho_ledger *l);
/* Start waiting for the outgoing kernel's end and then take over; once. */
int kho_agent_take_over(struct kho_agent *a, struct kho_err *err) __must_check;

#endif
