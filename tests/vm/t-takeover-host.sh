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
# there COMMAND: on the kernel that has the network, by a shell that is a workload itself: the other one has nobody else to be asked until the
# outgoing one has ended, because the init system of its root begins then. $LIMIT: seconds
there() {
	# shellcheck disable=SC2016
	netns timeout "${LIMIT:-100}" bash -c 'exec 3<> "/dev/tcp/$1/7777"; echo "$2; exit" >&3; cat <&3' bash "$(lab status --address)" "$1"
}
shell_start() {
	# shellcheck disable=SC2016
	printf '%s\n' 'use IO::Socket::INET;' '$l = IO::Socket::INET->new(LocalPort => 7777, Listen => 5, ReuseAddr => 1) or die "$!";' \
		'while (1) { $c = $l->accept or next; if (fork) { close $c; next }' \
		'open STDIN, "<&", $c; open STDOUT, ">&", $c; open STDERR, ">&", $c; exec "/bin/sh" }' > "$out/shell.pl"
	printf '%s\n' '[Service]' 'ExecStart=/usr/bin/perl /usr/lib/khoctl-lab/shell.pl' > "$out/shell.service"
	echo 'unit = shell.service' > "$out/shell.conf"
	lab put "$out/shell.pl" /usr/lib/khoctl-lab/shell.pl
	lab put "$out/shell.service" /etc/systemd/system/shell.service
	lab put "$out/shell.conf" /etc/khoctl/workloads.d/shell.conf
	vm sh -ec 'systemctl daemon-reload; systemctl start shell'
	for _ in $(seq 20); do
		[ "$(LIMIT=20 there 'uname -r' 2> /dev/null || true)" != "$(vm_release)" ] || return 0
		sleep 1
	done
	die "the shell does not answer"
}
shell_stop() {
	vm sh -ec 'systemctl stop shell; rm /etc/systemd/system/shell.service /etc/khoctl/workloads.d/shell.conf; systemctl daemon-reload'
}
# resumed FAULT: khoctl is killed by it, and khoctl resume is typed on the incoming kernel, in the minute after which that would do it by itself
resumed() {
	local from image to i upgrade
	from=$(vm_release); image=$(other_image); to=${image#/boot/vmlinuz-}
	say "$from -> $to: $1, and khoctl resume on $to"
	shell_start
	# (it may come back only when its kernel has ended: no program of that can be read any more)
	vm env KHOCTL_FAULT="$1" khoctl upgrade --yes --to "$image" > "$out/upgrade.txt" 2>&1 &
	upgrade=$!
	# nobody connects before the shell stands still
	until grep -aqE '^ ok +freeze ' "$out/upgrade.txt"; do
		kill -0 "$upgrade" 2> /dev/null || { tail -n 30 "$out/upgrade.txt"; die "the upgrade ended before the blackout"; }
		sleep 0.5
	done
	for i in $(seq 60); do
		[ "$(LIMIT=10 there 'uname -r' 2> /dev/null || true)" != "$to" ] || break
		[ "$i" != 60 ] || { tail -n 30 "$out/upgrade.txt"; die "$to does not answer"; }
		sleep 0.5
	done
	there 'khoctl status; khoctl resume; echo "exit code $?"' > "$out/there.txt" 2>&1 || { cat "$out/there.txt"; die "no shell on $to"; }
	cat "$out/there.txt"
	has there.txt "^${from//+/.} -> ${to//+/.}: .*; next: wait; khoctl resume ends the outgoing kernel now"
	has there.txt '^exit code 0$'
	wait_alone "$to"
	wait "$upgrade" || true
	runs_well "$1"
	host_clients_served
	vm khoctl status > "$out/status.txt" || die "khoctl status"
	cat "$out/status.txt"
	has status.txt "^${from//+/.} -> ${to//+/.}: upgraded"
	shell_stop
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
