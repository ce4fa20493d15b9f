// SPDX-License-Identifier: GPL-2.0-only
/*
 * The load "crypto": the kernel's own hashes, through AF_ALG.  Where the kernel has nobody to load its modules for it (an incoming one has
 * no root yet), we do.
 */
#include <linux/if_alg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bpf/load_mix.h"
#include "lib/cleanup.h"
#include "lib/modload.h"

#define BYTES  4096
#define DIGEST 32

/* SHA-256 of 4096 zero bytes */
static const unsigned char known[DIGEST] = {
	0xad, 0x7f, 0xac, 0xb2, 0x58, 0x6f, 0xc6, 0xe9, 0x66, 0xc0, 0x04, 0xd7, 0xd1, 0xd1, 0x6b, 0x02,
	0x4f, 0x58, 0x05, 0xff, 0x7c, 0xb4, 0x7c, 0x7a, 0x85, 0xda, 0xbd, 0x8b, 0x48, 0x89, 0x2c, 0xa7,
};

static int connect_hash(struct kho_mix_place *p)
{
	struct sockaddr_alg a = { .salg_family = AF_ALG, .salg_type = "hash", .salg_name = "sha256" };

	kho_closep(&p->fd[0]);
	p->fd[0] = socket(AF_ALG, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	return p->fd[0] < 0 || bind(p->fd[0], (struct sockaddr *)&a, sizeof(a)) < 0 ? -1 : 0;
}

static int crypto_open(struct kho_mix_place *p, struct kho_err *err)
{
	static const char *const module = "algif_hash";

	if (connect_hash(p) < 0) {
		(void)!kho_modules_load(&module, 1, NULL); /* why is what the socket says then */
		if (connect_hash(p) < 0)
			return kho_fail_errno(err, "AF_ALG, sha256 (module algif_hash)");
	}
	p->fd[1] = accept4(p->fd[0], NULL, NULL, SOCK_CLOEXEC);
	return p->fd[1] < 0 ? kho_fail_errno(err, "AF_ALG") : 0;
}

static int crypto_op(struct kho_mix_place *p, struct kho_err *err)
{
	static const unsigned char zeros[BYTES];
	unsigned char digest[DIGEST];

	if (send(p->fd[1], zeros, sizeof(zeros), 0) != sizeof(zeros) || read(p->fd[1], digest, sizeof(digest)) != sizeof(digest))
		return kho_fail_errno(err, "AF_ALG");
	return memcmp(digest, known, sizeof(known)) ? kho_fail(err, -EIO, "the kernel's SHA-256 is wrong") : 0;
}

static void crypto_close(struct kho_mix_place *p)
{
	kho_closep(&p->fd[1]);
	kho_closep(&p->fd[0]);
	p->fd[0] = p->fd[1] = -1;
}

const struct kho_mix_ops kho_mix_crypto = { crypto_open, crypto_op, crypto_close };
