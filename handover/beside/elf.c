// SPDX-License-Identifier: GPL-2.0-only
/*
 * Programs and all the libraries they are linked with: interpreter and DT_NEEDED, followed to the
 * end; and those they may load later and say so (.note.dlopen,
 * https://systemd.io/ELF_DLOPEN_METADATA: libkmod's decompressors), if they are installed.
 * Libraries are looked for as ld.so does: RUNPATH, then ld.so.cache, then the default folders.
 */
#include "handover/beside/elf.h"

#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handover/beside/machine.h"
#include "lib/cleanup.h"
#include "lib/io.h"
#include "lib/json.h"

#define CACHE_MAGIC  "glibc-ld.so.cache1.1"
#define CACHE_X86_64 0x0303 /* libc6, x86-64 */
#define NOTE_DLOPEN  0x407c0c0a

struct cache_head {
	char magic[20];
	uint32_t nlibs, strings_bytes, unused[5];
};

struct cache_entry {
	int32_t flags;
	uint32_t key, value, osversion; /* key, value: offsets of strings in the file */
	uint64_t hwcap;
};

struct closure {
	struct kho_files *l;
	struct kho_err *err;
	char **todo; /* paths; those before `done` have been looked at */
	size_t n, done;
	char *cache; /* ld.so.cache, or NULL */
	size_t cache_len;
};

static int push(struct closure *c, const char *path)
{
	char **slot;
	size_t i;

	for (i = 0; i < c->n; i++)
		if (!strcmp(c->todo[i], path))
			return 0;
	slot = kho_array_add(&c->todo, &c->n, sizeof(*slot));
	if (!slot || !(*slot = strdup(path)))
		return kho_fail(c->err, -ENOMEM, "libraries of programs: out of memory");
	return kho_files_add(c->l, path, c->err);
}

static const char *cache_string(const struct closure *c, uint32_t off)
{
	return off < c->cache_len && memchr(c->cache + off, '\0', c->cache_len - off)
		       ? c->cache + off
		       : NULL;
}

static const char *from_cache(const struct closure *c, const char *name)
{
	const struct cache_head *h = (const void *)c->cache;
	const struct cache_entry *e = (const void *)(h + 1);
	uint32_t i;

	if (!c->cache || c->cache_len < sizeof(*h) ||
	    memcmp(h->magic, CACHE_MAGIC, sizeof(h->magic)) ||
	    h->nlibs > (c->cache_len - sizeof(*h)) / sizeof(*e))
		return NULL;
	for (i = 0; i < h->nlibs; i++) {
		const char *key = e[i].flags == CACHE_X86_64 ? cache_string(c, e[i].key) : NULL;
		const char *path = key && !strcmp(key, name) ? cache_string(c, e[i].value) : NULL;

		if (path && !strstr(path, "glibc-hwcaps") && kho_exists(path))
			return path;
	}
	return NULL;
}

/* runpath: "dir:dir", $ORIGIN not used by what we pack; may be NULL */
static int resolve(struct closure *c, const char *name, const char *runpath, bool must)
{
	static const char *const dirs[] = {
		"/lib/x86_64-linux-gnu",
		"/usr/lib/x86_64-linux-gnu",
		"/lib64",
		"/usr/lib64",
		"/lib",
		"/usr/lib",
	};
	char path[4096];
	const char *found;
	size_t i;

	while (runpath && *runpath) {
		size_t n = strcspn(runpath, ":");

		snprintf(path, sizeof(path), "%.*s/%s", (int)n, runpath, name);
		if (kho_exists(path))
			return push(c, path);
		runpath += n + (runpath[n] == ':');
	}
	found = from_cache(c, name);
	if (found)
		return push(c, found);
	for (i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		snprintf(path, sizeof(path), "%s/%s", dirs[i], name);
		if (kho_exists(path))
			return push(c, path);
	}
	if (!must)
		return 0;
	return kho_fail(c->err, -ENOENT, "library %s is not found: %s will not run; install it",
			name, c->todo[c->done]);
}

static int scan_dynamic(struct closure *c, Elf *elf, Elf_Scn *scn, const GElf_Shdr *sh)
{
	Elf_Data *data = elf_getdata(scn, NULL);
	const char *runpath = NULL;
	size_t n = data && sh->sh_entsize ? sh->sh_size / sh->sh_entsize : 0, i;
	GElf_Dyn dyn;
	int ret = 0;

	for (i = 0; i < n && gelf_getdyn(data, i, &dyn); i++)
		if (dyn.d_tag == DT_RUNPATH || dyn.d_tag == DT_RPATH)
			runpath = elf_strptr(elf, sh->sh_link, dyn.d_un.d_val);
	for (i = 0; i < n && !ret && gelf_getdyn(data, i, &dyn); i++) {
		const char *name = dyn.d_tag == DT_NEEDED
					   ? elf_strptr(elf, sh->sh_link, dyn.d_un.d_val)
					   : NULL;

		if (name)
			ret = resolve(c, name, runpath, true);
	}
	return ret;
}

/* [{"soname":["libzstd.so.1", ...], ...}, ...] */
static int add_optional(struct closure *c, const char *text, size_t len)
{
	struct json_tokener *tok = json_tokener_new();
	_cleanup_json_ struct json_object *all = tok ? json_tokener_parse_ex(tok, text, (int)len) : NULL;
	int ret = 0;

	if (tok)
		json_tokener_free(tok);
	if (!json_object_is_type(all, json_type_array))
		return 0;
	for (size_t i = 0; !ret && i < json_object_array_length(all); i++) {
		struct json_object *names = kho_json_get(json_object_array_get_idx(all, i), "soname");

		if (!json_object_is_type(names, json_type_array))
			continue;
		for (size_t k = 0; !ret && k < json_object_array_length(names); k++) {
			const char *name = json_object_get_string(json_object_array_get_idx(names, k));

			if (name && !strchr(name, '/'))
				ret = resolve(c, name, NULL, false);
		}
	}
	return ret;
}

static int scan_notes(struct closure *c, Elf_Scn *scn)
{
	Elf_Data *data = elf_getdata(scn, NULL);
	size_t at = 0, name, desc;
	GElf_Nhdr nh;
	int ret = 0;

	while (!ret && data && (at = gelf_getnote(data, at, &nh, &name, &desc)) > 0)
		if (nh.n_type == NOTE_DLOPEN && nh.n_namesz == 4 && nh.n_descsz < 65536 &&
		    !memcmp((char *)data->d_buf + name, "FDO", 4))
			ret = add_optional(c, (char *)data->d_buf + desc,
					   strnlen((char *)data->d_buf + desc, nh.n_descsz));
	return ret;
}

static int scan(struct closure *c, Elf *elf)
{
	Elf_Scn *scn = NULL;
	int ret = 0;

	while (!ret && (scn = elf_nextscn(elf, scn))) {
		GElf_Shdr sh;
		Elf_Data *data;

		if (!gelf_getshdr(scn, &sh))
			continue;
		if (sh.sh_type == SHT_DYNAMIC) {
			ret = scan_dynamic(c, elf, scn, &sh);
		} else if (sh.sh_type == SHT_NOTE) {
			ret = scan_notes(c, scn);
		} else if (sh.sh_type == SHT_PROGBITS && sh.sh_size && sh.sh_size < 256) {
			size_t strings;
			const char *name = elf_getshdrstrndx(elf, &strings)
						   ? NULL
						   : elf_strptr(elf, strings, sh.sh_name);

			data = name && !strcmp(name, ".interp") ? elf_getdata(scn, NULL) : NULL;
			if (data && memchr(data->d_buf, '\0', data->d_size))
				ret = push(c, data->d_buf);
		}
	}
	return ret;
}

static int scan_file(struct closure *c, const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	Elf *elf;
	int ret = 0;

	if (fd < 0)
		return kho_fail_errno(c->err, "%s", path);
	elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	if (elf && elf_kind(elf) == ELF_K_ELF) /* a script has no libraries */
		ret = scan(c, elf);
	elf_end(elf);
	return ret;
}

int kho_elf_add(struct kho_files *l, const char *const *programs, struct kho_err *err)
{
	struct closure c = { .l = l, .err = err };
	int ret = 0;
	size_t i;

	elf_version(EV_CURRENT);
	if (kho_read_file("/etc/ld.so.cache", 64 << 20, &c.cache, &c.cache_len, NULL) < 0)
		c.cache = NULL;
	for (; *programs && !ret; programs++)
		ret = push(&c, *programs);
	for (; c.done < c.n && !ret; c.done++)
		ret = scan_file(&c, c.todo[c.done]);
	for (i = 0; i < c.n; i++)
		free(c.todo[i]);
	free(c.todo);
	free(c.cache);
	return ret;
}
