// SPDX-License-Identifier: GPL-2.0-only
/*
 * Swap on a disk or in a file is memory that would have to come along: it is turned off while everything still runs, and turned on again
 * when the upgrade is undone. In the incoming kernel the host's own units turn it on. Compressed memory (zram) is memory and stays.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/swap.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "state-serializers/block.h"
#include "state-serializers/common.h"

struct swap {
	char path[PATH_MAX];
	uint64_t used_kib;
	int priority;
};

/* "\040" as in /proc/swaps */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++, to++) {
		unsigned c;

		if (*s == '\\' && sscanf(s + 1, "%3o", &c) == 1 && strlen(s) >= 4)
			*to = (char)c, s += 3;
		else
			*to = *s;
	}
	*to = '\0';
}

/* One line of /proc/swaps that is of interest. */
static bool parse(const char *line, struct swap *out)
{
	unsigned long long size, used;
	char path[2048];

	if (line[0] != '/' || !strncmp(line, "/dev/zram", 9) ||
	    sscanf(line, "%2047s %*s %llu %llu %d", path, &size, &used, &out->priority) != 4)
		return false;
	snprintf(out->path, sizeof(out->path), "%s", path);
	unescape(out->path);
	out->used_kib = used;
	return true;
}

static int read_all(const char *sysroot, struct swap **out, size_t *n)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, "/proc/swaps"), *text = NULL;
	char *save = NULL;

	*out = NULL;
	*n = 0;
	/* a kernel without swap has no such file */
	if (!path || kho_read_file(path, 1 << 20, &text, NULL, NULL) < 0)
		return path ? 0 : -ENOMEM;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct swap s, *p;

		if (!parse(line, &s))
			continue;
		p = reallocarray(*out, *n + 1, sizeof(*p));
		if (!p)
			return -ENOMEM;
		*out = p;
		p[(*n)++] = s;
	}
	return 0;
}

static uint64_t available_kib(const char *sysroot)
{
	int64_t kib = kho_meminfo_kib(sysroot, "MemAvailable");

	return kib > 0 ? (uint64_t)kib : 0;
}

int kho_swap_probe(const struct kho_env *env, struct kho_report *r, struct kho_err *err)
{
	uint64_t room = available_kib(env->sysroot), used = 0;
	_cleanup_free_ struct swap *s = NULL;
	size_t n = 0;
	int ret = read_all(env->sysroot, &s, &n);

	for (size_t i = 0; !ret && i < n; i++)
		used += s[i].used_kib;
	/* half of it: the incoming kernel needs memory, too */
	for (size_t i = 0; !ret && i < n; i++) {
		if (used > room / 2)
			ret = kho_report_add(r, KHO_V_NO, "device", s[i].path, "stop what uses the memory, or add some",
					     "%llu MiB of swap are in use and have to go into %llu MiB of memory",
					     (unsigned long long)used >> 10, (unsigned long long)room >> 10);
		else
			ret = kho_report_add(r, env->root_in_ram ? KHO_V_LOSS : KHO_V_OK, "device", s[i].path,
					     env->root_in_ram ? "swapon in the after-commit command" : NULL,
					     "swap with %llu MiB in use: turned off for the upgrade%s",
					     (unsigned long long)s[i].used_kib >> 10,
					     env->root_in_ram ? "" : ", on again by the new system");
	}
	return ret ? kho_fail(err, ret, "report: out of memory") : 0;
}

static int note_off(struct kho_env *env, Kho__Block *b, const struct swap *s, kho_save_fn *save, struct kho_err *err)
{
	Kho__BlockSwap *m = malloc(sizeof(*m));

	if (!m)
		return kho_fail(err, -ENOMEM, "out of memory");
	kho__block_swap__init(m);
	m->priority = s->priority;
	if (kho_pb_set(&m->path, s->path) || kho_pb_append(&b->swap, &b->n_swap, m)) {
		kho__block_swap__free_unpacked(m, NULL);
		return kho_fail(err, -ENOMEM, "out of memory");
	}
	return save(env, err);
}

int kho_swap_off(struct kho_env *env, Kho__Block *b, kho_save_fn *save, struct kho_err *err)
{
	_cleanup_free_ struct swap *s = NULL;
	size_t n = 0;
	int ret = read_all("", &s, &n);

	if (ret < 0)
		return kho_fail(err, ret, "swap: out of memory");
	for (size_t i = 0; i < n; i++) {
		uint64_t room = available_kib("");

		if (s[i].used_kib + (64 << 10) > room)
			return kho_fail(err, -ENOMEM, "turn off swap on %s: %llu MiB of it are in use, and %llu MiB of memory are free",
					s[i].path, (unsigned long long)s[i].used_kib >> 10, (unsigned long long)room >> 10);
		ret = note_off(env, b, &s[i], save, err);
		if (ret < 0)
			return ret;
		if (swapoff(s[i].path) < 0)
			return kho_fail_errno(err, "turn off swap on %s", s[i].path);
	}
	return 0;
}

int kho_swap_on(Kho__Block *b, struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;
	int first = 0;

	for (size_t i = 0; i < b->n_swap; i++) {
		const Kho__BlockSwap *s = b->swap[i];
		/* a negative priority was the kernel's own choice */
		int flags = s->priority >= 0 ? SWAP_FLAG_PREFER | (s->priority & SWAP_FLAG_PRIO_MASK) : 0;

		/* EBUSY: is on, it was never turned off */
		if (swapon(s->path, flags) < 0 && errno != EBUSY) {
			kho_fail_errno(&e, "turn swap on %s on again", s->path);
			kho_first_failure(e.code, &e, &first, err);
		}
		kho__block_swap__free_unpacked(b->swap[i], NULL);
	}
	free(b->swap);
	b->swap = NULL;
	b->n_swap = 0;
	return first;
}
