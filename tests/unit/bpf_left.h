/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs of this process in the kernel: which there are, and that they go. For tests that load some. */
#ifndef KHO_TEST_BPF_LEFT_H
#define KHO_TEST_BPF_LEFT_H

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/cleanup.h"

#define OWN_PROGRAMS 32 /* a link counts as its program */

/* Programs of a name in the kernel; negative: it does not say. */
static inline int in_kernel(const char *name)
{
	struct bpf_prog_info info;
	__u32 id = 0, len = sizeof(info);
	int n = 0, fd;

	while (!bpf_prog_get_next_id(id, &id)) {
		fd = bpf_prog_get_fd_by_id(id);
		if (fd < 0)
			continue;
		memset(&info, 0, sizeof(info));
		if (!bpf_obj_get_info_by_fd(fd, &info, &len) && !strcmp(info.name, name))
			n++;
		close(fd);
	}
	return errno == ENOENT ? n : -errno;
}

static inline void need_bpf(void)
{
	if (in_kernel("x") >= 0 && !access("/sys/kernel/btf/vmlinux", R_OK))
		return;
	print_message("skipped: programs cannot be loaded here: not root, no bpf(2), or a kernel without BTF\n");
	skip();
}

/* Numbers of the programs that this process has descriptors of; how many. */
static inline size_t own_programs(__u32 ids[OWN_PROGRAMS])
{
	char path[64], line[128];
	size_t n = 0;

	for (int fd = 0; fd < 256; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
		_cleanup_fclose_ FILE *f = fopen(path, "r");

		while (f && n < OWN_PROGRAMS && fgets(line, sizeof(line), f))
			if (sscanf(line, "prog_id: %u", &ids[n]) == 1)
				n++;
	}
	return n;
}

/* The kernel frees a program a moment after its last descriptor is closed. */
static inline void expect_gone(const __u32 *ids, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int fd = 0;

		for (int t = 0; t < 300 && (fd = bpf_prog_get_fd_by_id(ids[i])) >= 0; t++) {
			close(fd);
			usleep(10000);
		}
		assert_true(fd < 0);
	}
}

#endif
