/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tables of device mapper, as the kernel writes them and as they cross: without device numbers, and with the key apart.
 * Pure functions, and the reading of a table that was recorded with dmsetup.
 */
#ifndef KHO_BLOCK_TABLE_H
#define KHO_BLOCK_TABLE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/err.h"
#include "state-serializers/block.pb-c.h"

#define KHO_TABLE_UNDER 128	/* devices below one target: stripes of LVM */

struct kho_dm_target {
	uint64_t start, sectors;
	char type[16];
	char *params;		/* malloc'd; may hold a key */
};

/* One device's active table. */
struct kho_dm_table {
	struct kho_dm_target *target;
	size_t n;
	char name[128], uuid[130];
	bool readonly, suspended;
};

/* Wipe and free. */
void kho_dm_table_done(struct kho_dm_table *t);

/* Append a target; params is copied. -ENOMEM. */
int kho_dm_table_add(struct kho_dm_table *t, uint64_t start, uint64_t sectors, const char *type, const char *params);

/* The lines of one device out of what `dmsetup table` printed ("NAME: START SECTORS TYPE PARAMS"); -ENOENT: none. */
int kho_dm_table_recorded(const char *text, const char *name, struct kho_dm_table *out, struct kho_err *err);

/* Can a target of that type be made again elsewhere? */
bool kho_table_type_moves(const char *type);

/*
 * Take a target apart: out gets start, sectors, type and params, where each device below is "@" and the key "#"; the devices go
 * to under (*n of them), the key (malloc'd; NULL: none) to *key. -ENOTSUP: a type that is not carried, -EINVAL: not understood.
 */
int kho_table_split(const struct kho_dm_target *t, Kho__BlockTarget *out, dev_t under[KHO_TABLE_UNDER], size_t *n, char **key,
		    struct kho_err *err);

/* Put params together again (malloc'd): under has as many devices as the target; key may be NULL if it needs none. */
int kho_table_join(const Kho__BlockTarget *t, const dev_t *under, const char *key, char **out, struct kho_err *err);

/* Wipe and free a string (NULL: nothing). */
void kho_wipe(char **s);

#endif
