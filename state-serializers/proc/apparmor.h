/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Profiles of AppArmor that confine a workload's processes. CRIU puts each restored process under the profile that it had, by name; the
 * incoming kernel has none before its system is up. So the policy goes with the plan, in the form in which it was loaded, as the kernel
 * gives it back (CONFIG_SECURITY_APPARMOR_EXPORT_BINARY, security/apparmor/apparmorfs.c).
 */
#ifndef KHO_PROC_APPARMOR_H
#define KHO_PROC_APPARMOR_H

#include "lib/workload.h"
#include "state-serializers/proc.pb-c.h"

/* The profile of a process, malloc'd, without its mode; NULL: nothing confines it. */
char *kho_aa_profile(pid_t pid);

/* Of a label the profile that was loaded: "a" of "a//b//c" too. malloc'd; NULL: it is a stack of profiles, or in a namespace of its own. */
char *kho_aa_loaded(const char *label);

/* Can what confines the process go with it? -ENOTSUP says why not (SELinux cannot). */
int kho_aa_check(pid_t pid, struct kho_err *err) __must_check;

/* Outgoing: the policies of all processes of (resolved) workloads, into plan->policies. */
int kho_aa_collect(const struct kho_workload_list *l, KhoProc__Plan *plan, struct kho_err *err) __must_check;
void kho_aa_collected_done(KhoProc__Plan *plan);

/* Incoming: load them; and its inverse. */
int kho_aa_load(const KhoProc__Plan *plan, struct kho_err *err) __must_check;
void kho_aa_unload(const KhoProc__Plan *plan);

#endif
