/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The units serializer's parts: what systemd says of a unit, what the next systemd is told, and the
 * journal of the meantime.
 */
#ifndef KHO_SER_UNITS_H
#define KHO_SER_UNITS_H

#include <sys/socket.h>

#include "state-serializers/common.h"
#include "state-serializers/units.pb-c.h"

/* What of systemd is asked on a recorded tree: the output of `systemctl show '*.service'` and of `systemctl list-units`. */
#define KHO_UNITS_SHOWN	  "/run/khoctl-record/systemctl-show"
#define KHO_UNITS_RUNNING "/run/khoctl-record/systemctl-running"
#define KHO_UNITS_MANAGER "/run/khoctl-record/systemctl-manager"

/* Where systemd finds what is there until the next boot only, and the name of our drop-ins. */
#define KHO_UNITS_SYSTEM  "/run/systemd/system"
#define KHO_UNITS_DROP_IN "khoctl.conf"

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

/* What a program (args[0], found as usual) prints, malloc'd; NULL: nothing, or there is none of that name. */
char *kho_units_ask(const char *const *args);

/* The same of all units that a pattern fits, parted by empty lines. */
char *kho_units_show_all(const char *sysroot, const char *pattern);

/* A moment as systemctl prints it, in microseconds since 1970; 0: none, or not understood. */
uint64_t kho_units_moment(const char *text);

/* A length of time as systemctl prints it ("1min 2.5s"); false: none ("infinity"). */
bool kho_units_span(const char *text, uint64_t *out_us);

/* Running services, one name per line, malloc'd; NULL: not known. */
char *kho_units_running(const char *sysroot);

/* Facts of all units that are workloads. Units that systemd does not know are left out. */
int kho_units_read(struct kho_env *env, const char *sysroot, Kho__Units **out, struct kho_err *err) __must_check;

/* --- the state of units, in systemd's own words --- */

/* Can a systemd of that version ("257.13-1") be told its state? And that of the machine? */
bool kho_units_is_told(const char *version);
bool kho_units_version_is_told(const char *sysroot);

/* What is common to all units, from what is shown of it; NULL: out of memory. */
Kho__State *kho_units_state_new(const char *unit, const char *shown);
int kho_units_line(Kho__State *s, const char *key, const char *value) __must_check;

/* The state of a carried service and of the sockets that start it, into u->state. -ENOMEM or 0. */
int kho_units_state_read(const char *sysroot, const struct kho_workload *w, const Kho__Unit *unit, const char *shown,
			 Kho__Units *u) __must_check;

/* Of a socket unit, as shown: can its sockets be found again in the processes of its service? */
bool kho_units_socket_is_carried(const char *shown);

/* What of the descriptor store can be carried, into s->kept. Live system only. -ENOMEM or 0. */
int kho_units_kept_read(Kho__State *s, const struct kho_workload *w, const char *shown) __must_check;

/* All timers that wait: their state, and the times of those that count. -ENOMEM or 0. */
int kho_units_timers_read(const char *sysroot, Kho__Units *u) __must_check;

/* --- the same on the incoming side --- */

#define KHO_UNITS_LISTEN_MAX 64
#define KHO_UNITS_ADDRESS    160
/* What systemd gives dynamic users. */
#define KHO_UNITS_DYNAMIC_MIN 61184
#define KHO_UNITS_DYNAMIC_MAX 65519

/* Tell PID 1 what its init system is to read. Nothing is told where the facts do not allow it. */
int kho_units_text_give(struct kho_env *env, const Kho__Units *u, struct kho_err *err) __must_check;

/* A bound address as systemd writes it; "" for one of another family. */
void kho_units_address(const struct sockaddr_storage *s, size_t len, char out[KHO_UNITS_ADDRESS]);

/* The socket of a process in that control group that listens there, or -1. */
int kho_units_hold_socket(const char *cgroup, const Kho__Listen *l);

/* A descriptor of a store, or -1: it is not there any more. */
int kho_units_hold_kept(const Kho__Kept *k);

/* The number of a dynamic user, locked, in a pair of sockets as systemd keeps it. */
int kho_units_hold_user(const char *name, uint32_t uid, int sv[2], struct kho_err *err) __must_check;

/* The drop-in of a timer, below root ("" but in tests). */
int kho_units_timer_write(const char *root, const Kho__Timer *t, struct kho_err *err) __must_check;

/* A file below root, readable for all, with the directories that lead to it. */
int kho_units_put(const char *root, const char *name, const char *text, struct kho_err *err) __must_check;

/* --- credentials --- */

/* What is mounted at /run/credentials/UNIT, into u->credentials. Live system only. -ENOMEM or 0. */
int kho_units_credentials_read(const char *unit, Kho__Units *u) __must_check;

/* Mount it there again, before the processes of the unit are restored; and the inverse. */
int kho_units_credentials_mount(const Kho__Credentials *c, struct kho_err *err) __must_check;
void kho_units_credentials_unmount(const Kho__Credentials *c);

/* See struct kho_serializer. */
int kho_units_probe(struct kho_env *env, struct kho_report *r, struct kho_err *err);

/* The drop-ins and the rest for the new systemd, below root ("" but in tests); carried: where its disk is mounted. */
int kho_units_write(const char *root, const char *carried, const char *run_dir, const Kho__Units *u, const char *release,
		    struct kho_err *err) __must_check;

/* Ask journald for one of its methods (io.systemd.Journal.NAME), and wait so long for the answer. -ENOENT: no journald. */
int kho_units_journald(const char *method, uint64_t timeout_us, struct kho_err *err) __must_check;

/* Send the files of the runtime journal into the peer's images_dir; described in out->journal. */
int kho_units_journal_send(struct kho_env *env, Kho__Units *out, struct kho_err *err) __must_check;

/* Put them where the new journald finds them. */
int kho_units_journal_place(struct kho_env *env, const Kho__Units *u, struct kho_err *err) __must_check;

#endif
