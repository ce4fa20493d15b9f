// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every kernel on the machine as this one knows it: itself, the one that made it (ledger of its
 * region, "up") and the one it has made ("down").  Retired ones are gone and not listed, nor is one that this kernel has fenced
 * to take over.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include "handover/beside/machine.h"
#include "handover/dev.h"
#include "handover/engine.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"

struct list {
	struct kho_instance_info *i;
	size_t n;
	int dev;
	struct kho_ioc_info info;
	struct kho_err *err;
};

static int no_memory(struct list *l)
{
	return kho_fail(l->err, -ENOMEM, "list of instances: out of memory");
}

static int add_cpu(struct list *l, struct kho_instance_info *i, uint32_t apicid)
{
	uint32_t *slot = kho_array_add(&i->apicids, &i->ncpus, sizeof(*slot));

	if (!slot)
		return no_memory(l);
	*slot = apicid;
	return 0;
}

/* What `owner` has by a ledger's tables. */
static int add_owned(struct list *l, struct kho_instance_info *i, const struct kho_ledger *ledger,
		     uint8_t owner, bool with_cpus)
{
	const struct kho_ledger_cpu *cpus;
	const struct kho_ledger_pci *pci;
	size_t ncpus, npci, k;
	int ret = 0;

	cpus = kho_ledger_entries(ledger, KHO_LEDGER_BYTES, &ledger->cpus, sizeof(*cpus), &ncpus);
	pci = kho_ledger_entries(ledger, KHO_LEDGER_BYTES, &ledger->pci, sizeof(*pci), &npci);
	for (k = 0; with_cpus && k < ncpus && !ret; k++)
		if (cpus[k].owner == owner)
			ret = add_cpu(l, i, cpus[k].apicid);
	for (k = 0; k < npci && !ret; k++) {
		char **slot;

		if (pci[k].owner != owner || pci[k].bridge)
			continue;
		slot = kho_array_add(&i->devices, &i->ndevices, sizeof(*slot));
		if (!slot || asprintf(slot, "%04x:%02x:%02x.%x", pci[k].segment, pci[k].bus,
				      pci[k].devfn >> 3, pci[k].devfn & 7) < 0)
			return no_memory(l);
	}
	return ret;
}

static void fill_side(struct kho_instance_info *i, const struct kho_ledger *ledger, int side)
{
	const struct kho_ledger_side *s = &ledger->side[side];
	uint64_t now = kho_clock_us(), beat;

	i->id = s->id;
	i->generation = s->generation;
	i->state = kho_state_name(s->state);
	i->mem_kib = s->mem_total_kib;
	snprintf(i->release, sizeof(i->release), "%.*s", (int)sizeof(s->release), s->release);
	for (char *p = i->release; *p; p++) /* the other kernel may have written anything */
		*p = *p > ' ' && *p <= '~' ? *p : '?';
	beat = ledger->tsc_khz ? (unsigned __int128)s->heartbeat_tsc * 1000 / ledger->tsc_khz : 0;
	i->heartbeat_age_us = s->heartbeat_tsc && now > beat ? now - beat : 0;
}

static bool is_listed(uint32_t state)
{
	return state != KHO_STATE_NONE && state != KHO_STATE_RETIRED;
}

static int add_peer(struct list *l, const struct kho_ledger *ledger, int side, uint8_t owner)
{
	struct kho_instance_info *i;

	if (!is_listed(ledger->side[side].state) || (side == KHO_SIDE_OUTGOING && ledger->side[side].state == KHO_STATE_FENCED))
		return 0;
	i = kho_array_add(&l->i, &l->n, sizeof(*i));
	if (!i)
		return no_memory(l);
	fill_side(i, ledger, side);
	return add_owned(l, i, ledger, owner, true);
}

static const struct kho_ledger *map_ledger(struct list *l, uint64_t region)
{
	const struct kho_ledger *ledger =
		kho_dev_map(l->dev, region + KHO_OFF_LEDGER, KHO_LEDGER_BYTES, false, l->err);

	if (ledger && ledger->magic == KHO_REGION_MAGIC && ledger->revision == KHO_REGION_REVISION)
		return ledger;
	if (ledger) {
		munmap((void *)ledger, KHO_LEDGER_BYTES);
		kho_fail(l->err, -EPROTO, "the ledger at %#llx is of another revision",
			 (unsigned long long)region);
	}
	return NULL;
}

/* Memory and CPUs of this kernel, without any module. */
static int fill_self(struct list *l, struct kho_instance_info *i, const char *sysroot)
{
	_cleanup_free_ char *path = kho_sysroot_path(sysroot, "/proc/sys/kernel/osrelease"),
			    *release = NULL;
	struct kho_machine m = { 0 };
	struct utsname u;
	int ret;
	size_t k;

	i->self = true;
	i->id = i->generation = 1;
	i->state = kho_state_name(KHO_STATE_RUNNING);
	if (path && kho_read_line(path, &release, NULL) == 0)
		snprintf(i->release, sizeof(i->release), "%.63s", release);
	else if (uname(&u) == 0)
		snprintf(i->release, sizeof(i->release), "%.63s", u.release);
	ret = kho_machine_read_cpus(sysroot, -1, &m, l->err);
	for (k = 0; k < m.ncpus && !ret; k++)
		ret = add_cpu(l, i, m.cpus[k].apicid);
	if (!ret && kho_machine_read_memory(sysroot, &m, NULL) == 0)
		i->mem_kib = m.total_bytes >> 10;
	kho_machine_done(&m);
	return ret;
}

/* Having committed is news as long as the other one is there; alone it is a kernel that runs. */
static uint32_t state_below(const struct kho_ledger *up)
{
	uint32_t state = up->side[KHO_SIDE_INCOMING].state;

	uint32_t other = up->side[KHO_SIDE_OUTGOING].state;

	return state == KHO_STATE_COMMITTED && (!is_listed(other) || other == KHO_STATE_FENCED) ? KHO_STATE_RUNNING : state;
}

/* With the module: what the ledgers say; `self` keeps its own list of CPUs, it is newer. */
static int add_from_ledgers(struct list *l)
{
	const struct kho_ledger *up = NULL, *down = NULL;
	int ret = 0;

	if (l->info.flags & KHO_INFO_HAS_UP)
		up = map_ledger(l, l->info.up_base);
	if (l->info.flags & KHO_INFO_HAS_DOWN)
		down = map_ledger(l, l->info.down_base);
	l->i[0].id = l->info.instance_id;
	l->i[0].generation = l->info.generation;
	if (up)
		l->i[0].state = kho_state_name(state_below(up));
	if (down)
		l->i[0].state = kho_state_name(down->side[KHO_SIDE_OUTGOING].state);
	/* functions that it has from above and has given on are not its own */
	if (down)
		ret = add_owned(l, &l->i[0], down, KHO_OWNER_OUTGOING, false);
	else if (up)
		ret = add_owned(l, &l->i[0], up, KHO_OWNER_INCOMING, false);
	if (!ret && up)
		ret = add_peer(l, up, KHO_SIDE_OUTGOING, KHO_OWNER_OUTGOING);
	if (!ret && down)
		ret = add_peer(l, down, KHO_SIDE_INCOMING, KHO_OWNER_INCOMING);
	if (up)
		munmap((void *)up, KHO_LEDGER_BYTES);
	if (down)
		munmap((void *)down, KHO_LEDGER_BYTES);
	return ret;
}

int kho_instances(const char *sysroot, struct kho_instance_info **out, size_t *out_n,
		  struct kho_err *err)
{
	struct list l = { .dev = -1, .err = err };
	struct kho_instance_info *self = kho_array_add(&l.i, &l.n, sizeof(*self));
	int ret;

	if (!self)
		return no_memory(&l);
	ret = fill_self(&l, self, sysroot);
	if (!ret && !(sysroot && *sysroot)) {
		l.dev = kho_dev_open(NULL);
		if (l.dev >= 0)
			ret = kho_dev_info(l.dev, &l.info, err);
		if (l.dev >= 0 && !ret) {
			kho_clock_set_tsc_khz(l.info.tsc_khz);
			ret = add_from_ledgers(&l);
		}
		kho_closep(&l.dev);
	}
	if (ret < 0) {
		kho_instances_free(l.i, l.n);
		return ret;
	}
	*out = l.i;
	*out_n = l.n;
	return 0;
}

void kho_instances_free(struct kho_instance_info *i, size_t n)
{
	size_t k, d;

	for (k = 0; k < n; k++) {
		for (d = 0; d < i[k].ndevices; d++)
			free(i[k].devices[d]);
		free(i[k].devices);
		free(i[k].apicids);
	}
	free(i);
}

bool kho_instance_other_signed(const char *sysroot)
{
	struct kho_instance_info *list = NULL;
	bool there = false;
	size_t n = 0;

	if (kho_instances(sysroot, &list, &n, NULL) < 0)
		return false;
	for (size_t i = 0; i < n; i++)
		there |= !list[i].self && (!strcmp(list[i].state, kho_state_name(KHO_STATE_COMMITTED)) ||
					   !strcmp(list[i].state, kho_state_name(KHO_STATE_RETIRING)));
	kho_instances_free(list, n);
	return there;
}

int kho_instance_end_outgoing(struct kho_err *err)
{
	_cleanup_close_ int fd = kho_dev_open(err);

	return fd < 0 ? fd : kho_dev_fence(fd, err);
}
