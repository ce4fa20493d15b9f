/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Private to the kexec engine: the incoming kernel takes this one's place. There is no peer to talk to while the upgrade runs; every request that
 * the beside engine would send over its link is kept (tape.c) and handed over with the files. The commit is the jump: whatever fails
 * before it is undone here as in any upgrade, and what comes after it the incoming agent does alone (handover/incoming/agent_handed.c).
 */
#ifndef KHO_KEXEC_KEXEC_H
#define KHO_KEXEC_KEXEC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "handover/beside/initrd_choice.h"
#include "handover/beside/initramfs.h"
#include "handover/beside/machine.h"
#include "handover/engine.h"
#include "handover/kexec/disk.h"
#include "handover/kexec/new.h"
#include "handover/link/link.pb-c.h"
#include "lib/bzimage.h"

struct kho_kexec_request { /* a message, packed */
	KhoLink__Msg__BodyCase body;
	char serializer[32], op[16]; /* of an Op */
	void *data;
	size_t len;
};

struct kho_kexec_file {
	char *name;	/* below images_dir */
	uint64_t token; /* in the session, or on the disk; 0: it is in none (yet) */
	uint64_t bytes; /* since it is preserved, on the disk, or kho_kexec_close_files() */
	int fd;		/* luo: of one that is preserved and that a link of this process leads to; else -1 */
	bool copied;	/* it is the engine's; on no disk, the next kernel may need it to get there */
	bool early;	/* initrd: it is in the initramfs already, packed */
	bool checked;	/* on the disk: it was read from there again, and is whole */
	struct kho_disk_file disk; /* of one that is there */
};

struct kho_kexec {
	struct kho_engine e; /* first: kho_kexec_of */
	struct kho_machine m;
	bool have_facts;
	struct kho_bzimage img;
	struct kho_initramfs_choice initramfs;
	char *images_dir;      /* run_dir/images, a tmpfs of its own while an upgrade runs */
	char *dir;	       /* run_dir/kexec, another one: what is below */
	char *initrd;	       /* the initramfs */
	uint64_t root_bytes;   /* of it: the first root, before anything is handed over; 0: it is not written */
	int level;	       /* how archives in it are packed (kho_files_pack()): as the target can unpack them */
	char *loaded, *mounted, *kept; /* marks: a kernel of ours is loaded; images_dir is mounted by us; the folder on the disk is ours */
	int disk;	       /* that folder, with --state-dir and since it is made; else -1 */
	char *cmdline, *back_cmdline; /* since all is reserved; of the way back: NULL, there is none */
	bool luo;	       /* carrier: else the initramfs */
	char carrier[200];     /* why */
	char running[65];      /* this kernel's release */
	char back_image[96];   /* its image: what is started when the incoming one cannot go on; "": it is not there */
	char back_modules[96];
	struct kho_target back; /* its modules */
	uint64_t frozen_us;
	pthread_mutex_t lock; /* of what follows */
	struct kho_kexec_request *tape;
	size_t ntape;
	struct kho_kexec_file *files;
	size_t nfiles;
	uint64_t tokens; /* the last one given */
	int drop;    /* the program for it, from connect on; else negative */
	int ingress; /* shut, from the freeze on; else negative. To close it opens the way for packets again */
	int session; /* luo, from kho_kexec_fix_carrier() on; else -1. To close it drops what is in it */
};

struct kho_kexec *kho_kexec_of(struct kho_engine *e);
/*
 * ingress.c: the descriptor of a program that throws packets for this machine away, not yet in force; and that of its being in force: until it is closed,
 * or the process ends. The caller's. Negative errno: this kernel cannot.
 */
int kho_ingress_load(void);
int kho_ingress_shut(int prog);
/* Image and machine: whatever is not there yet. */
int kho_kexec_facts(struct kho_kexec *k, struct kho_err *err) __must_check;
/* How archives for a kernel are packed (kho_files_pack()): by zstd where its configuration says that it unpacks that, else 0. */
int kho_kexec_level(const char *sysroot, const char *release);
/* With what the way back needs. files: room for the request's extra files and one more, NULL-terminated here; malloc'd. */
int kho_kexec_initramfs_in(struct kho_kexec *k, struct kho_initramfs_in *out, const char ***out_files, struct kho_err *err) __must_check;

/* probe.c */
int kho_kexec_probe(struct kho_engine *e, struct kho_engine_plan *out, struct kho_report *r, struct kho_err *err);
/* Which carrier, and why; -EPROTO: none would be safe (the target would panic over what this kernel leaves). */
int kho_kexec_choose_carrier(struct kho_kexec *k, struct kho_err *err) __must_check;
/*
 * The session of the chosen carrier, while everything runs: whoever has the device later, it is there. When it cannot be had, though it could when the
 * machine was looked at, the carrier is the initramfs after all. initrd_bytes: as planned. -ENOMEM: for that one there is too little memory.
 */
int kho_kexec_fix_carrier(struct kho_kexec *k, uint64_t initrd_bytes, struct kho_err *err) __must_check;
/* What it is called for people. */
const char *kho_kexec_carrier_name(const struct kho_kexec *k);
/* So much may come to lie on a disk, at the most: all pages, and what is written again in the rounds of pre-copy. */
uint64_t kho_kexec_disk_need(const struct kho_workload_list *w);

/*
 * cmdline.c: of the incoming kernel: this one's, without what is for this boot or for another engine; with the operator's words, or (back) of this
 * kernel, when it has to be started again. malloc'd
 */
int kho_kexec_cmdline(const struct kho_kexec *k, bool back, char **out, struct kho_err *err) __must_check;

/* prepare.c */
int kho_kexec_reserve(struct kho_engine *e, const struct kho_engine_plan *p, struct kho_err *err);
int kho_kexec_unreserve(struct kho_engine *e, struct kho_err *err);
int kho_kexec_spawn(struct kho_engine *e, struct kho_err *err);
int kho_kexec_stop(struct kho_engine *e, struct kho_err *err);

/* tape.c */
int kho_kexec_connect(struct kho_engine *e, uint64_t deadline_us, struct kho_err *err);
int kho_kexec_disconnect(struct kho_engine *e, struct kho_err *err);
int kho_kexec_peer_op(struct kho_engine *e, const char *serializer, const char *op, const struct kho_blob *in, struct kho_report *r,
		      const struct kho_until *until, uint64_t deadline_us, struct kho_err *err);
int kho_kexec_entrust(struct kho_engine *e, const char *const *names, const struct kho_blob *record, bool complete, struct kho_err *err);
int kho_kexec_peer_fault(struct kho_engine *e, const char *kind, struct kho_err *err);

/* files.c */
/* luo: make the session, if there is none. */
int kho_kexec_need_session(struct kho_kexec *k, struct kho_err *err) __must_check;
/*
 * A file of images_dir is to be handed over; once, however often it is told. copied: it is the engine's, and new; else it is the serializer's own, who may
 * still look into it. luo: a copy, or pages of workloads, is preserved at once until the freeze. Pages are also written to a disk, or else packed into the
 * initramfs, at once until then.
 */
int kho_kexec_add_file(struct kho_kexec *k, const char *name, bool copied, struct kho_err *err) __must_check;
/* What has been written to the disk so far is there: synced, and read again. Nothing without one. -EBADMSG: it is not what was written. */
int kho_kexec_settle_files(struct kho_kexec *k, struct kho_err *err) __must_check;
/*
 * None comes any more: they are in their order, with their sizes and, luo, all in the session. With a disk, images of workloads are on it, and its file
 * system, which was frozen, is so again. out_bytes: of all.
 */
int kho_kexec_close_files(struct kho_kexec *k, uint64_t *out_bytes, struct kho_err *err) __must_check;
/* luo: what says what the files are, into the session too. */
int kho_kexec_preserve_state(struct kho_kexec *k, const void *data, size_t len, struct kho_err *err) __must_check;
/* The inverse of all; what lies on a disk is the folder's (kho_kexec_unreserve). */
void kho_kexec_drop_files(struct kho_kexec *k);

/* carry.c */
int kho_kexec_commit(struct kho_engine *e, const struct kho_blob *record, struct kho_err *err);

/* env.c */
extern const struct kho_env_ops kho_kexec_env_ops;
/* Get ready to keep packets out, before anything is frozen; a kernel that cannot is told. And no more. */
void kho_kexec_keep_out(struct kho_kexec *k);
void kho_kexec_let_in(struct kho_kexec *k);

#endif
