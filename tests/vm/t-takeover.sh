#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The outgoing kernel panics in the blackout, with the state across: the incoming one completes the upgrade alone, with the same
# client connected throughout; its last words are kept, and a further upgrade leads back. The same with an outgoing khoctl that is
# killed after the commit, and khoctl resume. In the end a panic before anything is across: the machine restarts, as with any panic.
set -euo pipefail
LABNAME=${LAB_NAME:-takeover}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
export CPUS=4
trap 'echo "$passed passed, 1 failed"; lab down > /dev/null 2>&1 || true; [ -z "$client_pid" ] || kill "$client_pid" 2> /dev/null || true' EXIT

redis_lab

# faulted FAULT FILE: an upgrade to $image with it. An emulator that loses a CPU of the new kernel makes an earlier step fail: that is undone, and
# it is tried again.
faulted() {
	for _ in 1 2 3; do
		vm env KHOCTL_FAULT="$1" khoctl upgrade --to "$image" > "$out/$2" 2>&1 || true
		grep -aq '^khoctl: rolled back: ' "$out/$2" || return 0
		client_alive
		echo "      $1: $(tail -n 1 "$out/$2" | tr -d '\r'); once more"
	done
	die "$1: three upgrades were undone: $(tail -n 1 "$out/$2")"
}
# ends_by FAULT END WORD: this kernel ends so (panicked, silent), the other one is the machine afterwards
ends_by() {
	local from image to
	from=$(vm_release); image=$(other_image); to=${image#/boot/vmlinuz-}
	faulted "$1" panic.txt
	wait_alone "$to"
	client_alive
	vm khoctl status > "$out/status.txt" || die "khoctl status"
	cat "$out/status.txt"
	[ "$(wc -l < "$out/status.txt")" = 1 ] || die "status is not one line"
	has status.txt "^${from//+/.} -> ${to//+/.}: upgraded: the outgoing kernel $3 in the blackout; this one has completed the upgrade alone"
	vm cat /run/khoctl/instance.json > "$out/instance.json"
	[ "$(jq -r .outgoing.end "$out/instance.json")" = "$2" ] || { cat "$out/instance.json"; die "it ended otherwise"; }
	[ "$(jq .cpus_failed "$out/instance.json") $(jq .memory_failed_kib "$out/instance.json")" = "0 0" ] || { cat "$out/instance.json"; die "not all CPUs, not all memory"; }
	vm khoctl report > "$out/report.txt" || die "khoctl report"
	has report.txt '^blackout: '
	grep -a '^blackout' "$out/report.txt"
	in_vm 'cat /sys/devices/system/cpu/online; sed -n "s/^MemTotal: *//p" /proc/meminfo'
}
panics() { # FAULT KERNEL.PANIC
	say "$(vm_release) panics ($1, kernel.panic=$2)"
	vm sysctl -q kernel.panic="$2"
	ends_by "$1" panicked panicked
	has status.txt '; next: khoctl log shows'
	vm khoctl log > "$out/log.txt" || die "khoctl log"
	has log.txt 'Kernel panic - not syncing: sysrq triggered crash'
	ok "$1, kernel.panic=$2: $(vm_release) has completed the upgrade alone, on all CPUs and all memory; same connection"
}
# with interrupts off on all its CPUs, while khoctl stands still behind the restore
hangs() {
	local rel
	rel=$(vm_release)
	say "$rel hangs"
	lab put "$top/build/module/$rel/khoctl-hang.ko" /run/khoctl-hang.ko
	vm sh -c 'setsid sh -c "until grep -aq restore /run/khoctl/lock; do sleep 0.2; done; sleep 20; insmod /run/khoctl-hang.ko" > /dev/null 2>&1 < /dev/null &'
	ends_by restore.after:hang silent hung
	ok "a hang behind the restore: $(vm_release) has completed the upgrade alone; same connection"
}
panics restore.after:panic 0
if [ "${TAKEOVER:-}" = all ]; then
	panics restore.after:panic 3 # of a kernel that khoctl has started; it waits with the reset
	hangs
fi
upgrade 1
ok "a further upgrade"

if [ "${TAKEOVER:-}" = all ]; then
# killed FAULT STEP [WAIT]: khoctl is killed after the commit; khoctl resume, on the kernel that was left behind, does the rest
killed() {
	local from image to
	from=$(vm_release); image=$(other_image); to=${image#/boot/vmlinuz-}
	say "khoctl is killed: $1"
	faulted "$1" killed.txt
	vm khoctl status > "$out/status.txt" || die "khoctl status"
	cat "$out/status.txt"
	[ "$(wc -l < "$out/status.txt")" = 1 ] || die "status is not one line"
	has status.txt "^${from//+/.} -> ${to//+/.}: committed, and then khoctl died in step $2; next: khoctl resume"
	vm khoctl resume > "$out/resume.txt" 2>&1 || { cat "$out/resume.txt"; die "khoctl resume"; }
	cat "$out/resume.txt"
	wait_alone "$to"
	client_alive
	vm khoctl status > "$out/status.txt" || die "khoctl status"
	cat "$out/status.txt"
	has status.txt "^${from//+/.} -> ${to//+/.}: upgraded"
	ok "$1: khoctl resume, and $to is the machine; same connection"
}
killed commit.signed:kill commit # before it could write so
killed netdev.finish:kill commit
killed commit.after:kill commit
killed settle:kill settle
killed retire:kill retire
killed settle.after:kill settle
# there COMMAND: on the kernel that has the network now, by a shell that is a workload itself
there() {
	# shellcheck disable=SC2016
	netns timeout 200 bash -c 'exec 3<> "/dev/tcp/$1/7777"; echo "$2; exit" >&3; cat <&3' bash "$(lab status --address)" "$1"
}
# the same, but it is resumed on the kernel that has the workloads
resumed_there() {
	local from image to
	from=$(vm_release); image=$(other_image); to=${image#/boot/vmlinuz-}
	say "khoctl is killed: settle:kill; khoctl resume on $to"
	vm sh -c 'printf "pidfile = /run/shell.pid\n" > /etc/khoctl/workloads.d/shell.conf
		setsid sh -c "echo \$\$ > /run/shell.pid; exec busybox nc -ll -p 7777 -e /bin/sh" > /dev/null 2>&1 < /dev/null &'
	faulted settle:kill killed.txt
	there 'uname -r; khoctl status; khoctl resume; echo "exit code $?"; khoctl status' > "$out/there.txt" 2>&1 || die "no shell on $to"
	cat "$out/there.txt"
	has there.txt "^${to//+/.}$"
	has there.txt "^${from//+/.} -> ${to//+/.}: .*; next: wait; khoctl resume ends the outgoing kernel now"
	has there.txt '^exit code 0$'
	wait_alone "$to"
	client_alive
	vm khoctl status > "$out/status.txt" || die "khoctl status"
	has status.txt "^${from//+/.} -> ${to//+/.}: upgraded"
	vm sh -c 'rm /etc/khoctl/workloads.d/shell.conf; kill "$(cat /run/shell.pid)"'
	ok "resumed on $to, which has ended $from; same connection"
}
resumed_there
# nobody resumes: a minute later the incoming kernel ends the one that was left behind
left_alone() {
	local from image to
	from=$(vm_release); image=$(other_image); to=${image#/boot/vmlinuz-}
	say "khoctl is killed: settle:kill, and nobody resumes"
	faulted settle:kill killed.txt
	wait_alone "$to"
	client_alive
	vm khoctl status > "$out/status.txt" || die "khoctl status"
	cat "$out/status.txt"
	has status.txt "^${from//+/.} -> ${to//+/.}: upgraded: its khoctl ended after the commit"
	ok "left alone: $to has done the rest and ended $from; same connection"
}
left_alone
fi
client_stop
client_whole
aof_complete "$(jq .acked "$out/client.json")"
ok "one connection, $(jq .acked "$out/client.json") replies in order; all of it is on the disk"
client_pid=

say "it panics before anything is across: the machine restarts"
lab may-reset
boot=$(vm cat /proc/sys/kernel/random/boot_id)
release=$(vm_release)
vm sysctl -q kernel.panic=3
vm env KHOCTL_FAULT=precopy:panic khoctl upgrade --to "$(other_image)" > "$out/precopy.txt" 2>&1 || true
for i in $(seq 300); do
	now=$(LAB_WAIT=10 vm cat /proc/sys/kernel/random/boot_id 2> /dev/null || true)
	[ -z "$now" ] || [ "$now" = "$boot" ] || break
	[ "$i" != 300 ] || die "the machine does not restart"
	sleep 1
done
ok "precopy:panic: the machine was restarted by kernel.panic=3 ($release ran, $(vm_release) runs)"
trap - EXIT
lab down > /dev/null 2>&1 || true
echo "$passed passed, 0 failed"
