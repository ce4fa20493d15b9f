/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Private to the beside engine: what one upgrade holds.
 */
#ifndef KHO_BESIDE_BESIDE_H
#define KHO_BESIDE_BESIDE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "handover/beside/boot.h"
#include "handover/beside/files.h"
#include "handover/beside/image.h"
#include "handover/beside/initramfs.h"
#include "handover/beside/initrd_choice.h"
#include "handover/beside/machine.h"
#include "handover/beside/new.h"
#include "handover/dev.h"
#include "handover/engine.h"
#include "handover/link/fault.h"
#include "handover/link/peer.h"

struct kho_beside_range {
	uint64_t base, bytes;
	bool given; /* the incoming kernel may have adopted it */
};

struct kho_beside {
	struct kho_engine e;	  /* first: kho_beside_of */
	int dev;		  /* /dev/khoctl, or -1 */
	struct kho_ioc_info info; /* of when it was opened */
	struct kho_machine m;
	bool have_machine;
	struct kho_bzimage img;
	const uint8_t *img_buf; /* mapped image */
	size_t img_len;
	char *images_dir;
	struct kho_initramfs_choice initramfs;

	/* what is held; kept in run_dir/beside so that another process can give it back */
	struct kho_beside_range region; /* taken memory of the region, bytes 0 = none */
	struct kho_beside_range *extra;
	size_t nextra;

	struct kho_layout layout;
	uint32_t *before, *after; /* copies of the plan's */
	size_t nbefore, nafter;
	char *cmdline;
	uint8_t *head; /* head of the region, mapped */
	void *bulk;
	struct kho_peer *peer;
	struct kho_link_faults faults; /* of a test: of what we send */
	struct kho_faults peer_faults; /* of what the incoming side sends, until there is a peer to ask */
	bool connected;
	bool committing; /* the incoming kernel was asked to sign */
	uint64_t spawned_us;
	pthread_mutex_t lost_lock;
	struct kho_err lost; /* code 0, or why the incoming kernel was given up; final */
};

struct kho_beside *kho_beside_of(struct kho_engine *e);

/* Image, machine (with the ledger's tables when this kernel was itself made), module: whatever is
 * not there yet. */
int kho_beside_facts(struct kho_beside *b, struct kho_err *err);

/* engine.c */
struct kho_initramfs_in kho_beside_initramfs_in(const struct kho_beside *b);
/* Whose initramfs it will be, if that is not chosen yet; what is against it goes into r. */
int kho_beside_initramfs(struct kho_beside *b, struct kho_report *r);
int kho_beside_cmdline(const struct kho_beside *b, char **out, struct kho_err *err);

/* probe.c */
int kho_beside_probe(struct kho_engine *e, struct kho_engine_plan *out, struct kho_report *r,
		     struct kho_err *err);

/* reserve.c */
int kho_beside_reserve(struct kho_engine *e, const struct kho_engine_plan *p, struct kho_err *err);
int kho_beside_unreserve(struct kho_engine *e, struct kho_err *err);

/* keeplog.c: what the incoming kernel said into state_dir, before its region goes; nothing when it
 * never started or said nothing. */
int kho_beside_keep_log(const struct kho_beside *b, struct kho_err *err);

/* held.c: memory that is held, and its record */
int kho_beside_held_save(const struct kho_beside *b, struct kho_err *err);
int kho_beside_held_load(struct kho_beside *b, struct kho_err *err);
int kho_beside_take_region(struct kho_beside *b, uint64_t bytes, struct kho_err *err);
int kho_beside_take_extra(struct kho_beside *b, uint64_t bytes, struct kho_err *err);
/* Release all; reports the first failure. */
int kho_beside_release(struct kho_beside *b, struct kho_err *err);

/* spawn.c */
int kho_beside_spawn(struct kho_engine *e, struct kho_err *err);
int kho_beside_stop(struct kho_engine *e, struct kho_err *err);

/* peer.c */
int kho_beside_connect(struct kho_engine *e, uint64_t deadline_us, struct kho_err *err);
int kho_beside_disconnect(struct kho_engine *e, struct kho_err *err);
int kho_beside_reconnect(struct kho_engine *e, uint64_t deadline_us, struct kho_err *err);
int kho_beside_gates(struct kho_engine *e, const struct kho_gate_ask *ask, const struct kho_gate_policy *policy, struct kho_gate_list *out,
		     uint64_t deadline_us, struct kho_err *err);
int kho_beside_load(struct kho_engine *e, const struct kho_load *l, bool (*stop)(void *arg), void *arg, struct kho_load_result *out,
		    uint64_t deadline_us, struct kho_err *err);
int kho_beside_replay(struct kho_engine *e, bool (*stop)(void *arg), void *arg, struct kho_replay_result *out, uint64_t deadline_us,
		      struct kho_err *err);
int kho_beside_entrust(struct kho_engine *e, const char *const *names, const struct kho_blob *record, bool complete,
		       struct kho_err *err);
int kho_beside_commit(struct kho_engine *e, const struct kho_blob *record, struct kho_err *err);
int kho_beside_shift_rest(struct kho_engine *e, struct kho_err *err);
int kho_beside_retire(struct kho_engine *e, struct kho_err *err);
bool kho_beside_peer_alive(struct kho_engine *e, struct kho_err *why);
/* The incoming kernel is no good: fence it, end all calls that wait for it. Nothing after a commit. */
void kho_beside_give_up(struct kho_beside *b, const struct kho_err *why);

/* faults.c: of a test, see struct kho_engine_ops */
int kho_beside_peer_fault(struct kho_engine *e, const char *kind, struct kho_err *err);
int kho_beside_link_fault(struct kho_engine *e, const struct kho_fault *f, struct kho_err *err);
/* One of b->faults has struck. arg: b */
void kho_beside_fault_struck(void *arg, const char *name);
/* The peer is there: ask it for what waits. */
int kho_beside_ask_faults(struct kho_beside *b, struct kho_err *err);

/* ops.c */
extern const struct kho_env_ops kho_beside_env_ops;

/* The ledger in the mapped head; NULL before there is one. */
const struct kho_ledger *kho_beside_ledger(const struct kho_beside *b);
/* Map head of an existing region (info.down_base), if there is one and it is not mapped. */
int kho_beside_map_head(struct kho_beside *b, struct kho_err *err);

#endif
