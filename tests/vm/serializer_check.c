// SPDX-License-Identifier: GPL-2.0-only
/*
 * Serializers on one kernel, with devices that only pretend to change hands: what needs root, real
 * modules and real devices, but no second kernel.  Run inside a test VM:
 *
 *   serializer-check hold               packets through veth, held and released: none lost
 *   serializer-check net PEER           the NIC is unbound and bound: as it was, silent until finish
 *   serializer-check block DIR NAME TYPE   what is mounted at DIR: frozen, snapshot, merge; then it lies on the mapping NAME of TYPE
 *   serializer-check record DIR         rule set and tracked connections into DIR, for tests/sysroots/netfilter
 *
 * Prints one line for each fact, exit 0 when all hold.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/cleanup.h"
#include "lib/io.h"
#include "serializer_check.h"
#include "state-serializers/common.h"

static int bad;

void fact(bool ok, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("%s  ", ok ? "ok  " : "FAIL");
	vprintf(fmt, ap);
	printf("\n");
	fflush(stdout);
	va_end(ap);
	bad += !ok;
}

void must(int ret, const struct kho_err *e, const char *what)
{
	fact(ret >= 0, "%s%s%s", what, ret < 0 ? ": " : "", ret < 0 ? e->msg : "");
}

void sleep_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000l }, NULL);
}

static int nothing(struct kho_env *env, struct kho_pci_addr a, struct kho_err *err)
{
	(void)env, (void)a, (void)err;
	return 0;
}

bool check_rebind;

static int take(struct kho_env *env, struct kho_pci_addr a, struct kho_err *err)
{
	char addr[KHO_PCI_LEN];

	(void)env;
	if (!check_rebind)
		return 0;
	kho_pci_format(a, addr);
	int ret = kho_write_existing("/sys/bus/pci/drivers/virtio-pci/unbind", addr, err);

	return ret < 0 ? ret
		       : kho_write_existing("/sys/bus/pci/drivers/virtio-pci/bind", addr, err);
}

static int put_file(struct kho_env *env, const char *local, const char *name, struct kho_err *err)
{
	_cleanup_free_ char *data = NULL;
	char path[512];
	size_t len;
	int ret = kho_read_file(local, 64 << 20, &data, &len, err);

	snprintf(path, sizeof(path), "%s/%s", env->images_dir, name);
	return ret < 0 ? ret : kho_write_file(path, data, len, err);
}

static void phase(struct kho_env *env, const char *name, uint64_t begin, uint64_t end)
{
	(void)env;
	printf("      %s %llu us\n", name, (unsigned long long)(end - begin));
}

static void note(struct kho_env *env, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(struct kho_env *env, const char *fmt, ...)
{
	va_list ap;

	(void)env;
	va_start(ap, fmt);
	printf("      note: ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
}

static const struct kho_env_ops ops = {
	.put_file = put_file,
	.pci_quiesce = nothing,
	.pci_unquiesce = nothing,
	.pci_give = nothing,
	.pci_take = take,
	.phase = phase,
	.note = note,
};
struct kho_env check_env = { .ops = &ops,
			     .run_dir = "/run/khoctl-check",
			     .images_dir = "/run/khoctl-check/images",
			     .sysroot = "" };

int main(int argc, char **argv)
{
	struct kho_err e = KHO_ERR_INIT;
	const char *what = argc > 1 ? argv[1] : "";

	must(kho_mkdir(check_env.images_dir, &e), &e, "run directory");
	if (!strcmp(what, "hold"))
		check_hold();
	else if (!strcmp(what, "net") && argc == 3)
		check_net(argv[2]);
	else if (!strcmp(what, "record") && argc == 3)
		record_filter(argv[2]);
	else if (!strcmp(what, "block") && argc == 5)
		check_block(argv[2], argv[3], argv[4]);
	else
		return fprintf(stderr, "serializer-check hold | net PEER | block DIR NAME TYPE | record DIR\n"), 2;
	printf("%s %s\n", what, bad ? "FAILED" : "ok");
	return !!bad;
}
