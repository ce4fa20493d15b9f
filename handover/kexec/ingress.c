// SPDX-License-Identifier: GPL-2.0-only
/*
 * What comes in is thrown away while CRIU dumps. The NIC stays with its driver until the jump, and CRIU looks twice at what a connection has received:
 * when more is there the second time it gives up ("recv failed (191, want 190)"), and the upgrade is undone. Nothing is lost: what is sent here is
 * held from freeze on, acknowledgements too, so who sent it sends it again. A program of two instructions on the root cgroup, whose link goes with its
 * descriptor: however this process ends, the way is open again.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <unistd.h>

#include "handover/kexec/kexec.h"
#include "lib/cleanup.h"

#define ROOT_GROUP "/sys/fs/cgroup"

int kho_ingress_load(void)
{
	const struct bpf_insn drop[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, opts, .expected_attach_type = BPF_CGROUP_INET_INGRESS);

	return bpf_prog_load(BPF_PROG_TYPE_CGROUP_SKB, "khoctl_ingress", "GPL", drop, sizeof(drop) / sizeof(*drop), &opts);
}

int kho_ingress_shut(int prog)
{
	_cleanup_close_ int group = open(ROOT_GROUP, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return group < 0 ? -errno : bpf_link_create(prog, group, BPF_CGROUP_INET_INGRESS, NULL);
}
