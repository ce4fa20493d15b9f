// SPDX-License-Identifier: GPL-2.0-only
/*
 * The incoming kernel's command line: a table of words, each with its reason; then the words of the
 * running kernel that a workload could notice; then the operator's.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handover/beside/boot.h"
#include "lib/cleanup.h"
#include "lib/workload.h"

static const struct {
	const char *word, *why;
} words[] = {
	{ "maxcpus=1", "only the boot CPU is there; the agent onlines each CPU when it has been "
		       "given" },
	{ "cpuhp.parallel=0", "parallel bring-up starts SMT primaries before maxcpus counts: would "
			      "wait for a CPU not parked" },
	{ "pci=off", "no configuration access: every function still belongs to the outgoing "
		     "kernel; the module has its own bridge" },
	{ "8250.nr_uarts=4", "the driver has to be there for the ports that this kernel may have "
			     "when it is alone" },
	{ "reserve=0x3f8,8,0x2f8,8,0x3e8,8,0x2e8,8",
	  "and keeps its hands off until then: probing would switch off the outgoing kernel's "
	  "console" },
	{ "console=tty0", "for the same reason: else the first serial port becomes the console" },
	{ "no_ipi_broadcast=1", "an all-but-self IPI would reach the CPUs of the other kernel" },
	{ "tsc=reliable", "there is no other clock to watch it with; both kernels count on one "
			  "TSC" },
	{ "memhp_default_state=offline", "adopted memory is onlined movable by the agent, so that "
					 "it can be given away again" },
	{ "panic=0", "a panic must stay where it is: the outgoing kernel sees it and takes "
		     "everything back" },
	{ "reboot=a", "restart through the ACPI reset register first, which is memory that the "
		      "outgoing kernel watches" },
	{ "printk.always_kmsg_dump=1", "a restart or halt is recorded like a panic: the error "
				       "record store holds it there until the module is loaded" },
	{ "pstore.compress=none", "that record is read by the outgoing kernel" },
	{ "rdinit=/init", "khoctl's init, whatever the image has built in" },
	{ "loglevel=7", "all messages into the ring that `khoctl console` shows" },
};

/* Words of the running kernel that change what programs see or what is safe. */
static const char *const carried[] = {
	"mitigations",
	"spectre_v2",
	"spec_store_bypass_disable",
	"l1tf",
	"mds",
	"tsx",
	"pti",
	"nopti",
	"transparent_hugepage",
	"net.ifnames",
	"biosdevname",
	"ipv6.disable",
	"apparmor",
	"security",
	"lsm",
	"selinux",
	"audit",
	"cgroup_no_v1",
	"cgroup_disable",
	"cgroup_enable",
	"systemd.unified_cgroup_hierarchy",
	"vsyscall",
	"randomize_kstack_offset",
	"init_on_alloc",
	"init_on_free",
	"lockdown",
	"module.sig_enforce",
	"zswap.enabled",
	"random.trust_cpu",
	"random.trust_bootloader",
};

/* MODULE.OPTION of those that the way to a disk or a wire goes through; whoever loads one looks there, too. */
static const char *const modules[] = {
	"nvme",	    "nvme_core", "virtio_pci", "virtio_net", "virtio_blk",  "virtio_scsi", "scsi_mod", "sd_mod",
	"dm_mod",   "dm_crypt",	 "dm_snapshot", "md_mod",    "loop",	   "bonding",	  "dummy",    "btrfs",
};

/* '-' and '_' are the same in names of modules. */
static bool is_option(const char *word, size_t key)
{
	const char *dot = memchr(word, '.', key);
	size_t n = dot ? (size_t)(dot - word) : 0, i, k;

	for (i = 0; n && i < sizeof(modules) / sizeof(*modules); i++) {
		for (k = 0; k < n && modules[i][k] == (word[k] == '-' ? '_' : word[k]); k++)
			;
		if (k == n && !modules[i][k])
			return true;
	}
	return false;
}

static bool is_carried(const char *word, size_t len)
{
	const char *eq = memchr(word, '=', len);
	size_t key = eq ? (size_t)(eq - word) : len, i;

	if (is_option(word, key))
		return true;
	for (i = 0; i < sizeof(carried) / sizeof(*carried); i++)
		if (strlen(carried[i]) == key && !memcmp(carried[i], word, key))
			return true;
	return false;
}

static void add_carried(FILE *f, const char *running)
{
	while (running && *running) {
		size_t n = strcspn(running, " \n");

		if (n == 2 && !memcmp(running, "--", 2))
			return;
		if (is_carried(running, n))
			fprintf(f, " %.*s", (int)n, running);
		running += n;
		running += strspn(running, " \n");
	}
}

/*
 * The incoming kernel's own processes must stay clear of the pids that are restored.  Not simply
 * above them: the workloads of a chain of upgrades would climb to the limit.
 */
uint64_t kho_pid_range(const struct kho_workload_list *w)
{
	static const uint64_t million = 1000000;
	uint64_t floor, highest = 0;

	for (floor = million; floor <= 3 * million; floor += million) {
		bool taken = false;

		for (size_t i = 0; w && i < w->n; i++)
			for (size_t j = 0; j < w->w[i].npids; j++) {
				uint64_t pid = w->w[i].pids[j];

				taken |= pid >= floor && pid < floor + million;
				if (pid > highest)
					highest = pid;
			}
		if (!taken)
			return floor;
	}
	return highest + 1;
}

int kho_cmdline_make(const struct kho_cmdline_in *in, char **out, struct kho_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0, i;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return kho_fail_errno(err, "command line");
	for (i = 0; i < sizeof(words) / sizeof(*words); i++)
		fprintf(f, "%s%s", i ? " " : "", words[i].word);
	fprintf(f, " tsc_early_khz=%u", in->tsc_khz); /* nothing to measure it with */
	if (in->hz) /* else each CPU that is onlined spends up to a second on measuring it */
		fprintf(f, " lpj=%llu", in->tsc_khz * 1000ULL / in->hz);
	if (in->pid_floor)
		fprintf(f, " khoctl.pid_floor=%llu", (unsigned long long)in->pid_floor);
	add_carried(f, in->running);
	if (in->extra && *in->extra)
		fprintf(f, " %s", in->extra);
	if (fclose(f))
		return kho_fail(err, -ENOMEM, "command line: out of memory");
	if (len > in->max)
		return kho_fail(err, -E2BIG,
				"the incoming kernel's command line has %zu bytes, it takes %u; "
				"shorten the words of --append",
				len, in->max);
	*out = steal_ptr(text);
	return 0;
}
