/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The target's image, for the beside engine: its header is read by lib/bzimage.h; here is what
 * this engine wants of it on top.
 */
#ifndef KHO_BESIDE_IMAGE_H
#define KHO_BESIDE_IMAGE_H

#include "lib/bzimage.h"

/* Can this engine start it? -EINVAL: no, the message says why and what would help. */
int kho_image_check(const struct kho_bzimage *img, struct kho_err *err);

/* Map the file read-only (*out_buf, munmap it), parse its header and check it. */
int kho_image_open(const char *path, const uint8_t **out_buf, size_t *out_len,
		   struct kho_bzimage *out, struct kho_err *err);

#endif
