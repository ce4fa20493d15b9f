// SPDX-License-Identifier: GPL-2.0-only
/*
 * netdev, incoming side: take the NICs and make them what they were, with every packet of both
 * directions held until commit.
 *
 * Each NIC has two ifbs with a plug.  Filters on clsact lead what arrives into kho-inN and what
 * would be sent into kho-outN: nothing reaches a socket that is not there yet (it would be answered
 * by RST), nothing leaves before commit.  ARP and neighbour discovery pass: they say only that this
 * MAC still has this address, and peers do not give up on it.  The plugs are made anew for each
 * arrival (a released plug stays released).  After commit the empty clsact stays: removing it would
 * lose packets.
 */
#include <dirent.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev-link.h"
#include "state-serializers/netdev.h"

#define FIND_TIMEOUT_US (5 * 1000000u)
#define OUR_INDEXES	0x20000000

static struct {
	Kho__Netdev *cfg;
	struct in_link {
		int ifindex, ifb_in, ifb_out;
		bool taken, redirected, made;
	} * l; /* one for each cfg->link */
} in;

static void ifb_names(size_t i, char a[IF_NAMESIZE], char b[IF_NAMESIZE])
{
	snprintf(a, IF_NAMESIZE, "kho-in%u", (unsigned)(i % 10000));
	snprintf(b, IF_NAMESIZE, "kho-out%u", (unsigned)(i % 10000));
}

static void in_done(void)
{
	if (in.cfg)
		kho__netdev__free_unpacked(in.cfg, NULL);
	free(in.l);
	in.cfg = NULL;
	in.l = NULL;
}

/* Plugs that hold; made anew whenever the NIC may come. */
static int make_ifbs(struct kho_nl *nl, size_t i, struct kho_err *err)
{
	char a[IF_NAMESIZE], b[IF_NAMESIZE];
	int ret;

	ifb_names(i, a, b);
	/* out of the way of the indexes that interfaces had and shall have again */
	ret = kho_ifb_add(nl, a, OUR_INDEXES + 2 * (int)i, &in.l[i].ifb_in, err);
	return ret ? ret : kho_ifb_add(nl, b, OUR_INDEXES + 2 * (int)i + 1, &in.l[i].ifb_out, err);
}

static int delete_ifbs(struct kho_nl *nl, size_t i, struct kho_err *err)
{
	char a[IF_NAMESIZE], b[IF_NAMESIZE];
	struct kho_err e = KHO_ERR_INIT;
	int first = 0;

	ifb_names(i, a, b);
	kho_first_failure(kho_link_del(nl, a, &e), &e, &first, err);
	kho_first_failure(kho_link_del(nl, b, &e), &e, &first, err);
	in.l[i].ifb_in = in.l[i].ifb_out = 0;
	return first;
}

static int load_modules(const Kho__Netdev *cfg, struct kho_err *err)
{
	static const char *const base[] = { "ifb numifbs=0", "sch_plug", "sch_ingress",
					    "cls_matchall",  "cls_u32",	 "act_mirred" };
	int ret = kho_modules_load(base, KHO_ARRAY_SIZE(base), err);

	for (size_t i = 0; !ret && i < cfg->n_link; i++)
		ret = kho_modules_load((const char *const *)cfg->link[i]->modules,
				       cfg->link[i]->n_modules, err);
	return ret;
}

static int set_cfg(const struct kho_blob *blob, struct kho_err *err)
{
	Kho__Netdev *cfg = kho_pb_unpack(&kho__netdev__descriptor, blob, err);
	struct in_link *l = cfg ? calloc(cfg->n_link + 1, sizeof(*l)) : NULL;

	if (!l) {
		if (cfg)
			kho__netdev__free_unpacked(cfg, NULL);
		return cfg ? kho_fail(err, -ENOMEM, "out of memory") : err ? err->code : -EBADMSG;
	}
	for (size_t i = 0; i < cfg->n_link; i++) {
		if (strlen(cfg->link[i]->name) >= IF_NAMESIZE || strchr(cfg->link[i]->name, '/')) {
			kho__netdev__free_unpacked(cfg, NULL);
			free(l);
			return kho_fail(err, -EBADMSG, "state of netdev: bad interface name");
		}
		/* the same interfaces as prepare has seen: their ifbs are ready */
		if (in.cfg && i < in.cfg->n_link &&
		    !strcmp(in.cfg->link[i]->pci, cfg->link[i]->pci))
			l[i] = in.l[i];
	}
	in_done();
	in.cfg = cfg;
	in.l = l;
	return 0;
}

int kho_netdev_prepare(struct kho_env *env, const struct kho_blob *blob, struct kho_err *err)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	int ret = set_cfg(blob, err);

	if (ret < 0)
		return ret;
	ret = kho_nl_open(&nl, err);
	if (!ret)
		ret = kho_link_set(&nl, if_nametoindex("lo"), IFF_UP, IFF_UP, err);
	if (!ret && in.cfg->n_link > 1)
		ret = load_modules(in.cfg, err);
	if (!ret)
		ret = kho_netdev_filter_prepare(env, in.cfg, err);
	if (!ret)
		ret = kho_netdev_files_place(in.cfg, "", err);
	for (size_t i = 0; !ret && i < in.cfg->n_link; i++)
		if (*in.cfg->link[i]->pci)
			ret = make_ifbs(&nl, i, err);
	if (!ret)
		kho_netdev_reserve_indexes(&nl, in.cfg);
	return ret;
}

int kho_netdev_unprepare(struct kho_env *env, struct kho_err *err)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	int first = 0;

	(void)env;
	if (!in.cfg)
		return 0;
	first = kho_nl_open(&nl, err);
	for (size_t i = 0; !first && i < in.cfg->n_link; i++) {
		struct kho_err e = KHO_ERR_INIT;

		if (*in.cfg->link[i]->pci)
			kho_first_failure(delete_ifbs(&nl, i, &e), &e, &first, err);
	}
	struct kho_err e = KHO_ERR_INIT;

	if (nl.s)
		kho_netdev_release_indexes(&nl, in.cfg);
	kho_first_failure(kho_netdev_filter_drop(&e), &e, &first, err);
	in_done();
	return first;
}

/* The interface on a PCI function; the driver may still be at it. */
static int find_netdev(const char *pci, struct kho_err *err)
{
	uint64_t end = kho_clock_us() + FIND_TIMEOUT_US;
	char path[PATH_MAX], at[KHO_PCI_LEN];

	for (;;) {
		_cleanup_closedir_ DIR *d = opendir("/sys/class/net");

		for (struct dirent *e = d ? readdir(d) : NULL; e; e = readdir(d)) {
			snprintf(path, sizeof(path), "/sys/class/net/%s/device", e->d_name);
			if (e->d_name[0] != '.' && !kho_pci_of_sysfs("", path, at) &&
			    !strcmp(at, pci))
				return if_nametoindex(e->d_name);
		}
		if (kho_clock_us() > end)
			return kho_fail(err, -ENODEV,
					"no network interface on %s (is its driver in the "
					"initramfs?)",
					pci);
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
}

static int take(struct kho_env *env, struct kho_nl *nl, size_t i, struct kho_err *err)
{
	const Kho__NetLink *l = in.cfg->link[i];
	uint64_t begin = kho_clock_us();
	struct kho_pci_addr a;
	int ret = 0;

	if (!kho_pci_parse(l->pci, &a))
		return kho_fail(err, -EBADMSG, "bad PCI address %s", l->pci);
	if (!in.l[i].ifb_in || !in.l[i].ifb_out)
		ret = make_ifbs(nl, i, err);
	if (ret < 0)
		return ret;
	in.l[i].taken = true;
	ret = env->ops->pci_take(env, a, err);
	if (ret < 0)
		return ret;
	kho_phase(env, "nic take", begin);
	ret = find_netdev(l->pci, err);
	if (ret < 0)
		return ret;
	in.l[i].ifindex = ret;
	/* before it is up: the first packet must find the way into the plug */
	ret = kho_clsact_add(nl, in.l[i].ifindex, err);
	in.l[i].redirected = true;
	if (!ret)
		ret = kho_redirect_add(nl, in.l[i].ifindex, true, in.l[i].ifb_in, err);
	return ret ? ret : kho_redirect_add(nl, in.l[i].ifindex, false, in.l[i].ifb_out, err);
}

/* Each interface with its name and what it must have before it is up; NICs come before what lies on them. */
static int make_links(struct kho_env *env, struct kho_nl *nl, int *index, struct kho_err *err)
{
	uint64_t begin = kho_clock_us();
	int ret = 0;

	for (size_t i = 0; !ret && i < in.cfg->n_link; i++) {
		const Kho__NetLink *l = in.cfg->link[i];

		if (*l->pci)
			ret = take(env, nl, i, err);
		else if (kho_link_is_virtual(l))
			ret = kho_netdev_make(nl, in.cfg, i, index, err);
		else
			ret = (int)if_nametoindex(l->name);
		if (!*l->pci && ret >= 0) {
			in.l[i].made = kho_link_is_virtual(l) && ret;
			in.l[i].ifindex = ret;
		}
		index[i] = in.l[i].ifindex;
		if (ret >= 0)
			ret = index[i] ? kho_netdev_apply_link(nl, l, index[i], err) : 0;
		if (!index[i] && !ret)
			kho_note(env, "%s: what it lies on is not carried, so it is left out", l->name);
		if (ret < 0)
			return kho_wrap(err, "%s", l->name);
	}
	for (size_t i = 0; !ret && i < in.cfg->n_link; i++)
		if (index[i])
			ret = kho_netdev_enslave(nl, in.cfg, i, index, err);
	kho_phase(env, "interfaces", begin);
	return ret;
}

int kho_netdev_retrieve(struct kho_env *env, const struct kho_blob *blob, struct kho_err *err)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	_cleanup_free_ int *index = NULL;
	int ret = set_cfg(blob, err);

	if (ret < 0)
		return ret;
	ret = kho_nl_open(&nl, err);
	index = calloc(in.cfg->n_link + 1, sizeof(*index));
	if (!index)
		return kho_fail(err, -ENOMEM, "out of memory");
	if (!ret)
		ret = make_links(env, &nl, index, err);
	if (!ret)
		ret = kho_netdev_filter_take(env, in.cfg, index, err);
	for (size_t i = 0; !ret && i < in.cfg->n_link; i++)
		if (index[i] && kho_netdev_apply_up(&nl, in.cfg->link[i], index[i], err) < 0)
			return kho_wrap(err, "%s", in.cfg->link[i]->name);
	for (size_t i = 0; !ret && i < in.cfg->n_link; i++)
		if (index[i])
			ret = kho_netdev_apply_ports(&nl, in.cfg, i, index, err);
	return ret ? ret : kho_netdev_apply_routes(&nl, in.cfg, index, err);
}

int kho_netdev_verify(struct kho_env *env, struct kho_report *r, struct kho_err *err)
{
	int ret = 0;

	(void)env;
	for (size_t i = 0; in.cfg && !ret && i < in.cfg->n_link; i++) {
		const Kho__NetLink *l = in.cfg->link[i];
		_cleanup_free_ char *state = NULL;
		char path[64 + IF_NAMESIZE];

		if ((!*l->pci && !in.l[i].made) || !(l->flags & IFF_UP))
			continue;
		snprintf(path, sizeof(path), "/sys/class/net/%s/operstate", l->name);
		bool there = kho_read_line(path, &state, NULL) >= 0;

		if (!there)
			ret = kho_report_add(r, KHO_V_NO, "device", l->name, NULL, "is not there");
		else if (!strcmp(state, "up") || !strcmp(state, "unknown"))
			ret = kho_report_add(r, KHO_V_OK, "device", l->name, NULL,
					     "is up with %zu addresses", l->n_address);
		else
			ret = kho_report_add(r, KHO_V_LOSS, "device", l->name, NULL,
					     "has no carrier yet (%s)", state);
	}
	return ret ? kho_fail(err, ret, "report: out of memory") : 0;
}

static int discard_one(struct kho_env *env, struct kho_nl *nl, size_t i, struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;
	struct kho_pci_addr a;
	int first = 0;

	if (in.l[i].made && nl->s)
		kho_first_failure(kho_link_del(nl, in.cfg->link[i]->name, &e), &e, &first, err);
	in.l[i].made = false;
	if (!in.l[i].taken || !kho_pci_parse(in.cfg->link[i]->pci, &a))
		return first;
	if (in.l[i].ifindex && nl->s) {
		kho_first_failure(kho_link_set(nl, in.l[i].ifindex, 0, IFF_UP, &e), &e, &first,
				  err);
		kho_first_failure(kho_clsact_del(nl, in.l[i].ifindex, &e), &e, &first, err);
	}
	kho_first_failure(env->ops->pci_give(env, a, &e), &e, &first, err);
	in.l[i].taken = in.l[i].redirected = false;
	in.l[i].ifindex = 0;
	/* what they held is for the outgoing kernel's clients to send again; the next arrival needs
	 * fresh ones */
	if (nl->s)
		kho_first_failure(make_ifbs(nl, i, &e), &e, &first, err);
	return first;
}

int kho_netdev_discard(struct kho_env *env, struct kho_err *err)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	struct kho_err e = KHO_ERR_INIT;
	int first = 0;

	if (!in.cfg)
		return 0;
	kho_first_failure(kho_nl_open(&nl, &e), &e, &first, err);
	for (size_t i = in.cfg->n_link; i-- > 0;)
		kho_first_failure(discard_one(env, &nl, i, &e), &e, &first, err);
	kho_first_failure(kho_netdev_filter_discard(in.cfg, &e), &e, &first, err);
	return first;
}

/*
 * The held packets go first, then those that queue up behind them; when nothing is under way the
 * filter goes: from then on packets take the direct way.
 */
static int finish_one(struct kho_nl *nl, size_t i, struct kho_err *err)
{
	struct kho_err e = KHO_ERR_INIT;
	int first = 0;

	for (int way = 0; way < 2; way++) {
		int ifb = way ? in.l[i].ifb_out : in.l[i].ifb_in;

		kho_first_failure(kho_redirect_end(nl, in.l[i].ifindex, !way, ifb, &e), &e, &first,
				  err);
	}
	in.l[i].redirected = in.l[i].taken = false;
	kho_first_failure(delete_ifbs(nl, i, &e), &e, &first, err);
	return first;
}

int kho_netdev_finish(struct kho_env *env, struct kho_err *err)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	uint64_t begin = kho_clock_us();
	struct kho_err e = KHO_ERR_INIT;
	int first = 0;

	if (!in.cfg)
		return 0;
	kho_first_failure(kho_nl_open(&nl, &e), &e, &first, err);
	for (size_t i = 0; nl.s && i < in.cfg->n_link; i++) {
		if (!in.l[i].redirected)
			continue;
		kho_first_failure(kho_plug_release(&nl, in.l[i].ifb_in, &e), &e, &first, err);
		kho_first_failure(kho_plug_release(&nl, in.l[i].ifb_out, &e), &e, &first, err);
	}
	kho_phase(env, "network unlock", begin);
	return first;
}

/* Held packets are out: those that come now go the direct way, and what held them goes. */
int kho_netdev_tidy(struct kho_env *env, struct kho_err *err)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	struct kho_err e = KHO_ERR_INIT;
	int first = 0;

	(void)env;
	if (!in.cfg)
		return 0;
	kho_first_failure(kho_nl_open(&nl, &e), &e, &first, err);
	for (size_t i = 0; nl.s && i < in.cfg->n_link; i++) {
		if (in.l[i].redirected)
			kho_first_failure(finish_one(&nl, i, &e), &e, &first, err);
		kho_netdev_addrgen(in.cfg->link[i]->name, true, in.cfg->link[i]);
	}
	if (nl.s)
		kho_netdev_release_indexes(&nl, in.cfg);
	kho_netdev_filter_keep(env);
	in_done();
	return first;
}
