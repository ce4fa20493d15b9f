/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which modules the host's initramfs lists to be loaded before any device is looked for, as its own
 * init would read them: initramfs-tools' /conf/modules; of dracut modules-load.d and the words that its
 * force_drivers writes into cmdline.d.
 */
#ifndef KHO_INCOMING_HOST_LIST_H
#define KHO_INCOMING_HOST_LIST_H

#include <stddef.h>

#include "lib/err.h"

struct kho_host_module {
	char *name;
	char *options; /* "" where none are written */
};

struct kho_host_list {
	const char *maker; /* "initramfs-tools", "dracut"; NULL: no host's initramfs is there */
	struct kho_host_module *m; /* in the order of loading */
	size_t n;
};

/* Read the lists below root ("" is the root itself). None, and no initramfs at all, is no error. */
int kho_host_list_read(const char *root, struct kho_host_list *out, struct kho_err *err) __must_check;
void kho_host_list_done(struct kho_host_list *l);

#endif
