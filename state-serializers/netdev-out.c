// SPDX-License-Identifier: GPL-2.0-only
/*
 * netdev, outgoing side: read the configuration, hold what would be sent, give the NICs away, and
 * all of it back.
 *
 * The plug is put on the NIC's root long before the freeze, released: changing a root qdisc loses
 * what is sent meanwhile, holding a plug does not.  While it holds, nothing reaches the driver:
 * virtio-net of 6.12 panics when something is sent during its PM freeze.
 */
#include <net/if.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/io.h"
#include "state-serializers/common.h"
#include "state-serializers/netdev-link.h"
#include "state-serializers/netdev.h"

#define STATE "netdev-out"
#define PLUG  "sch_plug"

static Kho__Netdev *out_cfg; /* NULL: nothing preserved by this process */

static int save(struct kho_env *env, struct kho_err *err)
{
	Kho__NetRuleset *ruleset = out_cfg->ruleset;
	struct kho_blob b = { 0 };
	int ret;

	/* an undo needs no rules, and they may be many */
	out_cfg->ruleset = NULL;
	ret = kho_pb_pack(&out_cfg->base, &b, err);
	out_cfg->ruleset = ruleset;
	if (!ret)
		ret = kho_state_save(env, STATE, &b, err);
	kho_blob_done(&b);
	return ret;
}

/* What an earlier process has done, if this one has done nothing. */
static void load(struct kho_env *env)
{
	struct kho_blob b = { 0 };

	if (!out_cfg && !kho_state_load(env, STATE, &b, NULL))
		out_cfg = kho_pb_unpack(&kho__netdev__descriptor, &b, NULL);
	kho_blob_done(&b);
}

static void forget_cfg(struct kho_env *env)
{
	if (out_cfg)
		kho__netdev__free_unpacked(out_cfg, NULL);
	out_cfg = NULL;
	kho_state_drop(env, STATE);
}

static int plug_all(struct kho_nl *nl, struct kho_err *err)
{
	for (size_t i = 0; i < out_cfg->n_link; i++) {
		int index = out_cfg->link[i]->index, ret;

		if (!*out_cfg->link[i]->pci || kho_plug_is_there(nl, index))
			continue;
		ret = kho_plug_add(nl, index, err);
		if (!ret)
			ret = kho_plug_release(nl, index, err);
		if (ret < 0)
			return kho_wrap(err, "%s", out_cfg->link[i]->name);
	}
	return 0;
}

int kho_netdev_preserve(struct kho_env *env, unsigned round, struct kho_blob *out, bool *out_more,
			struct kho_err *err)
{
	static const char *const modules[] = { PLUG }, *const tracking[] = { KHO_CTNETLINK };
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	int ret;

	*out_more = false;
	if (round && out_cfg)
		return 0;
	forget_cfg(env);
	ret = kho_netdev_find("", &out_cfg, err);
	if (ret < 0)
		return ret;
	ret = kho_nl_open(&nl, err);
	if (!ret)
		ret = kho_netdev_read(&nl, out_cfg, true, err);
	if (!ret)
		ret = kho_qdisc_read(&nl, out_cfg, err);
	if (!ret)
		kho_netdev_sort(out_cfg);
	if (!ret)
		out_cfg->plug_module = out_cfg->n_link > 1 && !kho_exists("/sys/module/" PLUG);
	if (!ret)
		ret = kho_netdev_filter_begin(out_cfg, err);
	if (!ret)
		ret = kho_netdev_files_collect(out_cfg, "", err);
	if (!ret)
		ret = save(env, err);
	if (!ret && out_cfg->ctnetlink_module)
		ret = kho_modules_load(tracking, 1, err);
	if (!ret && out_cfg->n_link > 1)
		ret = kho_modules_load(modules, KHO_ARRAY_SIZE(modules), err);
	if (!ret)
		ret = plug_all(&nl, err);
	return ret ? ret : kho_pb_pack(&out_cfg->base, out, err);
}

int kho_netdev_unpreserve(struct kho_env *env, struct kho_err *err)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	int first;

	load(env);
	if (!out_cfg)
		return 0;
	first = kho_nl_open(&nl, err);
	for (size_t i = 0; !first && i < out_cfg->n_link; i++) {
		struct kho_err e = KHO_ERR_INIT;
		int index = if_nametoindex(out_cfg->link[i]->name);

		if (!*out_cfg->link[i]->pci || !index)
			continue;
		if (kho_plug_is_there(&nl, index)) {
			(void)!kho_plug_release(&nl, index, NULL);
			kho_first_failure(kho_plug_del(&nl, index, &e), &e, &first, err);
		}
		kho_first_failure(kho_qdisc_put(&nl, out_cfg->link[i], index, &e), &e, &first, err);
	}
	if (out_cfg->plug_module)
		kho_module_unload(PLUG);
	if (out_cfg->ctnetlink_module)
		kho_module_unload(KHO_CTNETLINK);
	forget_cfg(env);
	return first;
}

int kho_netdev_freeze(struct kho_env *env, struct kho_err *err)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	uint64_t begin = kho_clock_us();
	int ret;

	if (!out_cfg)
		return kho_fail(err, -EINVAL, "freeze before preserve");
	ret = kho_nl_open(&nl, err);
	for (size_t i = 0; !ret && i < out_cfg->n_link; i++)
		if (*out_cfg->link[i]->pci)
			ret = kho_plug_hold(&nl, out_cfg->link[i]->index, err);
	/* now, because the driver's freeze takes the carrier away and with it the neighbours */
	if (!ret)
		ret = kho_netdev_read(&nl, out_cfg, false, err);
	for (size_t i = 0; !ret && i < out_cfg->n_link; i++) {
		Kho__NetLink *l = out_cfg->link[i];

		if (*l->pci && kho_hand_quiesce(env, l->pci, &l->step, save, err) < 0)
			return kho_wrap(err, "%s", l->name);
	}
	kho_phase(env, "nic quiesce", begin);
	return ret;
}

int kho_netdev_drain(struct kho_env *env, struct kho_blob *out, struct kho_err *err)
{
	if (!out_cfg)
		return kho_fail(err, -EINVAL, "drain before preserve");
	for (size_t i = 0; i < out_cfg->n_link; i++) {
		Kho__NetLink *l = out_cfg->link[i];

		if (kho_hand_give(env, l->pci, &l->step, save, err) < 0)
			return kho_wrap(err, "%s", l->name);
	}
	int ret = kho_netdev_filter_read(env, out_cfg, err);

	return ret ? ret : kho_pb_pack(&out_cfg->base, out, err);
}

int kho_netdev_unfreeze(struct kho_env *env, struct kho_err *err)
{
	_cleanup_nl_ struct kho_nl nl = KHO_NL_INIT;
	struct kho_err e = KHO_ERR_INIT;
	int first = 0, ret;

	load(env);
	if (!out_cfg)
		return 0;
	ret = kho_nl_open(&nl, &e);
	kho_first_failure(ret, &e, &first, err);
	for (size_t i = out_cfg->n_link; i-- > 0;) {
		Kho__NetLink *l = out_cfg->link[i];
		int index = if_nametoindex(l->name);

		if (kho_hand_back(env, l->pci, &l->step, &e) < 0)
			kho_first_failure(kho_wrap(&e, "%s", l->name), &e, &first, err);
		else if (!ret && *l->pci && index)
			kho_first_failure(kho_netdev_renew_mac(&nl, l->name, index, &e), &e, &first, err);
		if (!ret && *l->pci && index && kho_plug_is_there(&nl, index))
			kho_first_failure(kho_plug_release(&nl, index, &e), &e, &first, err);
	}
	(void)!save(env, NULL);
	return first;
}
