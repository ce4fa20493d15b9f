// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interfaces of the incoming kernel with the indexes they had in the outgoing one.
 */
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>

#include "state-serializers/common.h"
#include "state-serializers/netdev-link.h"

#define PLACEHOLDERS_MAX 128

/* Order of the parts: loopback, NICs by index, virtual ones as they are. */
void kho_netdev_sort(Kho__Netdev *cfg)
{
	for (size_t i = 1; i < cfg->n_link; i++)
		for (size_t k = i; k > 0 && *cfg->link[k]->pci && *cfg->link[k - 1]->pci && cfg->link[k - 1]->index > cfg->link[k]->index; k--) {
			Kho__NetLink *l = cfg->link[k];

			cfg->link[k] = cfg->link[k - 1];
			cfg->link[k - 1] = l;
		}
}

static uint32_t highest(const Kho__Netdev *cfg)
{
	uint32_t max = 0;

	for (size_t i = 0; i < cfg->n_link; i++)
		if (*cfg->link[i]->pci && cfg->link[i]->index > max)
			max = cfg->link[i]->index;
	return max;
}

static bool is_nic(const Kho__Netdev *cfg, uint32_t index)
{
	for (size_t i = 0; i < cfg->n_link; i++)
		if (*cfg->link[i]->pci && cfg->link[i]->index == index)
			return true;
	return false;
}

static void name_of(uint32_t index, char name[IF_NAMESIZE])
{
	snprintf(name, IF_NAMESIZE, KHO_INDEX_HOLDER "%u", index % 100000);
}

/* One that is taken already needs no placeholder; without any, an interface has another index. */
void kho_netdev_reserve_indexes(struct kho_nl *nl, const Kho__Netdev *cfg)
{
	uint32_t max = highest(cfg);
	char name[IF_NAMESIZE];

	for (uint32_t i = 1; max <= PLACEHOLDERS_MAX && i < max; i++) {
		name_of(i, name);
		if (!is_nic(cfg, i))
			(void)!kho_link_placeholder(nl, name, (int)i, NULL);
	}
}

void kho_netdev_release_indexes(struct kho_nl *nl, const Kho__Netdev *cfg)
{
	uint32_t max = highest(cfg);
	char name[IF_NAMESIZE];

	for (uint32_t i = 1; max <= PLACEHOLDERS_MAX && i < max; i++) {
		name_of(i, name);
		if (if_nametoindex(name))
			(void)!kho_link_del(nl, name, NULL);
	}
}
