// SPDX-License-Identifier: GPL-2.0-only
/* Versions of the handover between kernels. See kho_abi.h. */
#include "lib/kho_abi.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "lib/cleanup.h"
#include "lib/vmlinux.h"

#define CONFIG_MAX (4u << 20)

/*
 * A string of the kernel's, PREFIX and a number, up to a NUL; the first that there is. Before a literal there is the NUL of another one. A name
 * that lies in a structure (memfd's handler, include/linux/liveupdate.h) has the last byte of a pointer before it, which is no letter, either.
 */
static void find_version(const uint8_t *p, size_t len, const char *prefix, char out[24])
{
	size_t n = strlen(prefix);
	const uint8_t *at = p, *end = p + len;

	*out = '\0';
	while ((at = memmem(at, (size_t)(end - at), prefix, n))) {
		size_t digits = 0;

		while (at + n + digits < end && digits < 8 && isdigit(at[n + digits]))
			digits++;
		if (digits && at > p && !isprint(at[-1]) && at + n + digits < end && !at[n + digits]) {
			memcpy(out, at, n + digits + 1);
			return;
		}
		at += n;
	}
}

/* Its configuration (kernel/configs.c), a gzip file between two marks; malloc'd text or NULL. */
static char *find_config(const uint8_t *p, size_t len)
{
	const uint8_t *from = memmem(p, len, "IKCFG_ST\x1f\x8b", 10), *to = NULL;
	_cleanup_free_ char *text = NULL;
	z_stream z = { 0 };
	int rc;

	if (from)
		to = memmem(from, len - (size_t)(from - p), "IKCFG_ED", 8);
	text = to ? calloc(1, CONFIG_MAX) : NULL;
	if (!text || inflateInit2(&z, 15 + 16) != Z_OK)
		return NULL;
	z.next_in = (Bytef *)(uintptr_t)(from + 8);
	z.avail_in = (uInt)(to - from - 8);
	z.next_out = (Bytef *)text;
	z.avail_out = CONFIG_MAX - 1;
	rc = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	return rc == Z_STREAM_END ? steal_ptr(text) : NULL;
}

void kho_abi_find(const uint8_t *vmlinux, size_t len, struct kho_abi *out)
{
	_cleanup_free_ char *config = find_config(vmlinux, len);

	*out = (struct kho_abi){ .config = config };
	find_version(vmlinux, len, "kho-v", out->kho);
	find_version(vmlinux, len, "luo-v", out->luo);
	find_version(vmlinux, len, "memfd-v", out->memfd);
	find_version(vmlinux, len, "memblock-v", out->memblock);
	out->handover = config ? strstr(config, "\nCONFIG_KEXEC_HANDOVER=y\n") != NULL : *out->kho;
	out->liveupdate = config ? strstr(config, "\nCONFIG_LIVEUPDATE=y\n") != NULL : *out->luo;
}

int kho_abi_of_image(const char *path, struct kho_abi *out, struct kho_err *err)
{
	_cleanup_free_ uint8_t *whole = NULL;
	size_t len = 0;
	int rc = kho_vmlinux_unpack(path, &whole, &len, err);

	if (!rc)
		kho_abi_find(whole, len, out);
	return rc;
}

void kho_abi_format(const struct kho_abi *abi, char *out, size_t len)
{
	const char *const all[] = { abi->kho, abi->luo, abi->memfd, abi->memblock };
	size_t at = 0;

	snprintf(out, len, "none");
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (*all[i] && at < len)
			at += (size_t)snprintf(out + at, len - at, "%s%s", at ? " " : "", all[i]);
}
