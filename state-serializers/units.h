/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The units serializer's parts: what systemd says of a unit, what the next systemd is told, and the
 * journal of the meantime.
 */
#ifndef KHO_SER_UNITS_H
#define KHO_SER_UNITS_H

#include "state-serializers/common.h"
#include "state-serializers/units.pb-c.h"

/* What of systemd is asked on a recorded tree: the output of `systemctl show '*.service'` and of `systemctl list-units`. */
#define KHO_UNITS_SHOWN	  "/run/khoctl-record/systemctl-show"
#define KHO_UNITS_RUNNING "/run/khoctl-record/systemctl-running"

/* What the new systemd is to adopt from, below run_dir: UNIT.pid; and the story told by `khoctl status`. */
#define KHO_UNITS_ADOPT "adopt"
#define KHO_UNITS_STORY "units.json"

/* How systemd calls directories that are a unit's own /tmp and /var/tmp: this, the boot's id, the unit. */
#define KHO_UNITS_PRIVATE "systemd-private-"

/* Is systemd PID 1 (on the recorded machine)? */
bool kho_units_systemd(const char *sysroot);

/* The service that a workload is (declared, or by its cgroup) into out; false: none. */
#define KHO_UNIT_MAX 256
bool kho_unit_of(const struct kho_workload *w, char out[KHO_UNIT_MAX]);

/* What `systemctl show` says of one unit: KEY=VALUE lines, malloc'd; NULL: it knows none of that name. */
char *kho_units_show(const char *sysroot, const char *unit);

/* One value out of such lines, malloc'd; NULL: there is none. */
char *kho_units_value(const char *shown, const char *key);

/* Running services, one name per line, malloc'd; NULL: not known. */
char *kho_units_running(const char *sysroot);

/* Facts of all units that are workloads. Units that systemd does not know are left out. */
int kho_units_read(struct kho_env *env, const char *sysroot, Kho__Units **out, struct kho_err *err) __must_check;

/* See struct kho_serializer. */
int kho_units_probe(struct kho_env *env, struct kho_report *r, struct kho_err *err);

/* The drop-ins and the rest for the new systemd, below root ("" but in tests); carried: where its disk is mounted. */
int kho_units_write(const char *root, const char *carried, const char *run_dir, const Kho__Units *u, const char *release,
		    struct kho_err *err) __must_check;

/* Ask journald for one of its methods (io.systemd.Journal.NAME), and wait for the answer. -ENOENT: no journald. */
int kho_units_journald(const char *method, struct kho_err *err) __must_check;

/* Send the files of the runtime journal into the peer's images_dir; described in out->journal. */
int kho_units_journal_send(struct kho_env *env, Kho__Units *out, struct kho_err *err) __must_check;

/* Put them where the new journald finds them. */
int kho_units_journal_place(struct kho_env *env, const Kho__Units *u, struct kho_err *err) __must_check;

#endif
