/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What several serializers share: packing of blobs, state kept for an undo by another process,
 * kernel modules through libkmod, and PCI addresses out of sysfs.
 */
#ifndef KHO_SER_COMMON_H
#define KHO_SER_COMMON_H

#include <protobuf-c/protobuf-c.h>

#include "lib/modload.h"
#include "state-serializers/serializer.h"

#define KHO_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Where a tmpfs that is mounted there is carried whole when the root is on a disk; NULL-terminated. */
extern const char *const kho_ram_whole[];

/* Pack m into out (freed before). -ENOMEM. */
int kho_pb_pack(const ProtobufCMessage *m, struct kho_blob *out, struct kho_err *err);

/* Unpack a blob (an empty one is a message of defaults); NULL with err when it is malformed. Caller frees with X__free_unpacked(). */
void *kho_pb_unpack(const ProtobufCMessageDescriptor *d, const struct kho_blob *in, struct kho_err *err);

/* Append a malloc'd item to a repeated field (pointer array and its count). -ENOMEM: item is the caller's still. */
int kho_pb_append(void *array, size_t *n, void *item);

/* Append a copy of bytes to a repeated bytes field. -ENOMEM. */
int kho_pb_append_bytes(ProtobufCBinaryData **array, size_t *n, const void *data, size_t len);

/* Replace a string field (frees the old one unless it is the shared empty string). -ENOMEM. */
int kho_pb_set(char **field, const char *value);

/* Keep a blob as run_dir/NAME.state (0600), for an undo in another process; remove it; read it (-ENOENT: not there). */
int kho_state_save(struct kho_env *env, const char *name, const struct kho_blob *b, struct kho_err *err);
void kho_state_drop(struct kho_env *env, const char *name);
int kho_state_load(struct kho_env *env, const char *name, struct kho_blob *out, struct kho_err *err);

/* A row of SYSROOT/proc/meminfo ("Dirty"), KiB; -1: it is not there. */
int64_t kho_meminfo_kib(const char *sysroot, const char *name);

/* "0000:00:04.0" -> address; false when it is none. */
bool kho_pci_parse(const char *text, struct kho_pci_addr *out);
#define KHO_PCI_LEN 16
void kho_pci_format(struct kho_pci_addr a, char out[KHO_PCI_LEN]);

/*
 * A PCI function on its way to the incoming kernel, and back. *step says how far it has gone, and is
 * saved with the serializer's state before each act, for an undo by another process.
 */
enum kho_handed { /* odd: begun, even: done */
	KHO_HANDED_NO = 0,
	KHO_HANDED_QUIESCING = 1,
	KHO_HANDED_QUIESCED = 2,
	KHO_HANDED_GIVING = 3,
	KHO_HANDED_GIVEN = 4
};
typedef int kho_save_fn(struct kho_env *env, struct kho_err *err);
int kho_hand_quiesce(struct kho_env *env, const char *pci, uint32_t *step, kho_save_fn *save, struct kho_err *err);
/* Only a quiesced one; of the others nothing is done. */
int kho_hand_give(struct kho_env *env, const char *pci, uint32_t *step, kho_save_fn *save, struct kho_err *err);
/* Back to where it was. A step that had only begun may never have happened: then its inverse may fail. */
int kho_hand_back(struct kho_env *env, const char *pci, uint32_t *step, struct kho_err *err);

/*
 * The PCI function that a sysfs node (below sysroot, links resolved) hangs on: the last component of its path
 * that is a PCI address. -ENOENT: none (virtual). name: as text.
 */
int kho_pci_of_sysfs(const char *sysroot, const char *path, char name[KHO_PCI_LEN]);

/* Names of the driver modules from the sysfs node up to and including its PCI function, appended to a repeated string field. */
int kho_driver_modules(const char *sysroot, const char *path, char ***out, size_t *n);

/* Say a line to the operator if there is anybody to listen. */
#define kho_note(env, ...) do { if ((env)->ops && (env)->ops->note) (env)->ops->note((env), __VA_ARGS__); } while (0)
void kho_phase(struct kho_env *env, const char *name, uint64_t begin_us);

/* A parameter ("net/ipv4/ip_forward", "ipv6/conf/all/forwarding") that, when it changes, changes others (accept_redirects): it is written first. */
bool kho_sysctl_goes_first(const char *key);

/* Send n files of a directory, dir/names[i] as prefix/names[i], in as few messages as it takes. */
int kho_put_files(struct kho_env *env, const char *dir, const char *prefix, char *const *names, size_t n, struct kho_err *err) __must_check;

#endif
