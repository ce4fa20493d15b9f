#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The Debian machine, its root on a disk: the outgoing kernel panics with the state across, and the incoming one completes the upgrade alone;
# khoctl is killed after the commit, when no program of the outgoing kernel can be started any more, and the incoming one does
# the rest, when khoctl resume is typed on it or, a minute later, by itself; a panic before anything is across restarts the machine, which says what was lost. One client is connected throughout.
set -euo pipefail
LABNAME=${LAB_NAME:-takeover-host}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
SERVICES=${SERVICES:-redis}
# shellcheck source=tests/vm/e2e_host.sh
. "$(dirname "$0")/e2e_host.sh"
export CPUS=4
trap 'echo "$passed passed, 1 failed"; host_clients_kill; lab down > /dev/null 2>&1 || true' EXIT

# ends FAULT END STATUS: the upgrade with that fault leads to the other kernel all the same
ends() {
	local from image to
	from=$(vm_release); image=$(other_image); to=${image#/boot/vmlinuz-}
	say "$from -> $to: $1"
	vm env KHOCTL_FAULT="$1" khoctl upgrade --yes --to "$image" > "$out/upgrade.txt" 2>&1 || true
	wait_alone "$to"
	runs_well "$1"
	host_clients_served
	vm khoctl status > "$out/status.txt" || die "khoctl status"
	cat "$out/status.txt"
	has status.txt "^${from//+/.} -> ${to//+/.}: $3"
	vm cat /run/khoctl/instance.json > "$out/instance.json"
	[ "$(jq -r .outgoing.end "$out/instance.json")" = "$2" ] || { cat "$out/instance.json"; die "it ended otherwise"; }
	[ "$(jq .cpus_failed "$out/instance.json") $(jq .memory_failed_kib "$out/instance.json")" = "0 0" ] || { cat "$out/instance.json"; die "not all CPUs, not all memory"; }
	host_units > "$out/units.txt"
	! grep -v ' active 0 ' "$out/units.txt" || die "a service does not run"
	ok "$1: $to is the machine, $SERVICES goes on with its connection"
}

lab down > /dev/null 2>&1 || true
lab up --host --cpus 4 --mem 4096
runs_well "before anything is done"
host_list
host_clients_start
vm sysctl -q kernel.panic=4
ends restore.after:panic panicked 'upgraded: the outgoing kernel panicked in the blackout; this one has completed the upgrade alone; next: khoctl log'
vm khoctl log > "$out/log.txt" || die "khoctl log"
has log.txt 'Kernel panic - not syncing: sysrq triggered crash'
ok "khoctl log has the panic: $(wc -l < "$out/log.txt") lines"
ends commit.after:kill fenced 'upgraded: its khoctl ended after the commit; this kernel did what was left'
# (its userland has begun with the commit; a person has most of a minute)
resumed() {
	local from image to i
	from=$(vm_release); image=$(other_image); to=${image#/boot/vmlinuz-}
	say "$from -> $to: $1, and khoctl resume on $to"
	vm env KHOCTL_FAULT="$1" khoctl upgrade --yes --to "$image" > "$out/upgrade.txt" 2>&1 || true
	for i in $(seq 120); do
		[ "$(LAB_WAIT=5 vm_release 2> /dev/null || true)" != "$to" ] || break
		[ "$i" != 120 ] || die "$to does not answer"
		sleep 0.5
	done
	vm sh -c 'khoctl status; khoctl resume; echo "exit code $?"' > "$out/there.txt" 2>&1 || die "no shell on $to"
	cat "$out/there.txt"
	has there.txt "^${from//+/.} -> ${to//+/.}: .*; next: wait; khoctl resume ends the outgoing kernel now"
	has there.txt '^exit code 0$'
	wait_alone "$to"
	runs_well "$1"
	host_clients_served
	vm khoctl status > "$out/status.txt" || die "khoctl status"
	cat "$out/status.txt"
	has status.txt "^${from//+/.} -> ${to//+/.}: upgraded"
	ok "$1: resumed on $to, which has ended $from; $SERVICES goes on with its connection"
}
resumed commit.after:kill
host_clients_stop

say "it panics before anything is across: the machine restarts, and says what was lost"
lab may-reset
boot=$(vm cat /proc/sys/kernel/random/boot_id)
vm sh -c 'systemctl enable khoctl-resume.service > /dev/null 2>&1; sysctl -q kernel.panic=3; sync'
vm env KHOCTL_FAULT=precopy.after:panic khoctl upgrade --yes --to "$(other_image)" > "$out/precopy.txt" 2>&1 || true
for i in $(seq 400); do
	now=$(LAB_WAIT=10 vm cat /proc/sys/kernel/random/boot_id 2> /dev/null || true)
	[ -z "$now" ] || [ "$now" = "$boot" ] || break
	[ "$i" != 400 ] || die "the machine does not restart"
	sleep 1
done
runs_well "after the restart"
vm khoctl status > "$out/status.txt" || die "khoctl status"
cat "$out/status.txt"
has status.txt 'interrupted by a restart of the machine; nothing is left to undo; it had not begun to move anything'
ok "precopy.after:panic: restarted by kernel.panic=3; status says what that cost"
trap - EXIT
lab down > /dev/null 2>&1 || true
echo "$passed passed, 0 failed"
