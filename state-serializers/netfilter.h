/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The packet filter: nftables' rule sets as the kernel's own messages, replayed in one transaction, and
 * connection tracking's entries.  Part of the netdev serializer, which decides when.
 */
#ifndef KHO_NETFILTER_H
#define KHO_NETFILTER_H

#include "lib/report.h"
#include "state-serializers/netdev-nl.h"

/* --- nftables: netfilter-read.c, netfilter-load.c, netfilter-rule.c --- */
/* All tables of this network namespace, but CRIU's own; empty where there are none. Caller frees. */
int kho_nft_read(Kho__NetRuleset **out, struct kho_err *err);
/*
 * One transaction: what was there goes, all of r (NULL: nothing) is in force, or nothing has changed.
 * devices: the interfaces are there; without, tables that name one in a hook or a flowtable are left out.
 */
int kho_nft_load(const Kho__NetRuleset *r, bool devices, struct kho_err *err);
/* Some table names an interface in a hook or a flowtable. */
bool kho_nft_names_devices(const Kho__NetRuleset *r);
/* Some rule compares an interface's index, or sends to one. */
bool kho_nft_knows_indexes(const Kho__NetRuleset *r);
/* Expressions (and what extensions of iptables need besides) of a kept rule into the message that makes it. */
void kho_nft_put_rule(struct nlmsghdr *nlh, const ProtobufCBinaryData *rule);
/* The protocol that a rule's own expressions ask for, which extensions of iptables want to be told; false: none. */
bool kho_nft_rule_protocol(const ProtobufCBinaryData *rule, uint32_t *out_protocol, bool *out_inverted);

/* --- connection tracking: netfilter-ct.c --- */
/* Entries that connection tracking has here; 0 when it is not in use. */
unsigned long kho_ct_count(void);
/* Each entry as a message that makes it, appended to c. */
int kho_ct_read(Kho__NetConntrack *c, struct kho_err *err);
/* Make them. One that this kernel does not take is left out: *refused counts them. */
int kho_ct_load(const Kho__NetConntrack *c, size_t *refused, struct kho_err *err);
/* Forget all entries. */
int kho_ct_flush(struct kho_err *err);

/* What of it can be carried, into r. */
int kho_netfilter_probe(struct kho_report *r, struct kho_err *err);

#endif
