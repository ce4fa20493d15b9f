#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# khoctl.ko on a kernel that looks for mistakes (kernels/debug.config: KASAN, lockdep, sleeping in atomic context, UBSAN, debug objects), on both sides of an
# upgrade: it is undone after a failure and after a panic of the incoming kernel, goes to the stock kernel (the debug kernel retires), and comes back
# (the debug kernel boots beside, takes over, adopts memory and CPUs). Not one report may be in any of its logs.
set -euo pipefail
LABNAME=${LAB_NAME:-debug}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
export CPUS=4 LAB_BOOT_SECONDS=900
trap 'lab down > /dev/null 2>&1 || true; [ -z "$client_pid" ] || kill "$client_pid" 2> /dev/null || true' EXIT

REPORTS='KASAN|BUG: |WARNING: |INFO: (possible|trying|task|lockdep|rcu)|UBSAN|ODEBUG|suspicious RCU|sleeping function|bad unlock|held lock|Oops|list_(add|del) corruption'
# clean NAME: nothing was reported, neither now nor on a console, and lockdep still works (it turns itself off after its first report)
clean() {
	vm dmesg > "$out/dmesg.$1"
	! grep -aE "$REPORTS" "$out/dmesg.$1" || die "$1: the kernel reports something"
	if [[ $(vm_release) = *-debug ]]; then
		[ "$(in_vm "sed -n 's/^ debug_locks: *//p' /proc/lockdep_stats")" = 1 ] || die "$1: lockdep has turned itself off"
	fi
}
# undone NAME FAULT WORDS
undone() {
	local rc=0
	vm env KHOCTL_FAULT="$2" KHOCTL_BOOT_SECONDS=900 khoctl upgrade --to "$(other_image)" --cmdline khoctl.fault=1 > "$out/$1.txt" 2>&1 || rc=$?
	[ "$rc" = 3 ] || { tail -n 30 "$out/$1.txt"; die "$1: exit code $rc, wanted 3"; }
	has "$1.txt" "$3"
	client_alive
	clean "$1"
	ok "$1: undone, no report"
}
# over NAME: to the other kernel. Without gates: the debug kernel has neither BTF nor all that CRIU has of the stock one, and is late.
over() {
	local from image
	from=$(vm_release); image=$(other_image)
	vm env KHOCTL_BOOT_SECONDS=900 khoctl upgrade --no-gates --to "$image" > "$out/$1.txt" 2>&1 || { tail -n 30 "$out/$1.txt"; die "$1"; }
	wait_alone "${image#/boot/vmlinuz-}"
	client_alive
	sleep 5
	clean "$1"
	ok "$1: $from -> $(vm_release), no report"
}

lab down > /dev/null 2>&1 || true
lab up --cpus 4 --mem 8192 --outgoing built/debug
[[ $(vm_release) = *-debug ]] || die "the debug kernel does not run"
redis_start 8
client_start
clean boot
undone failed restore:fail 'restore'
undone panicked restore.after:peer-panic 'lost|panic'
over up
over back
undone again restore:fail 'restore'
over up2
client_stop
for f in outgoing incoming; do
	! grep -aE "$REPORTS" "$top/build/lab/$LAB_NAME/$f.log" || die "$f.log has reports"
done
client_whole
ok "one connection, $(jq .acked "$out/client.json") replies in order, no report on any console"
lab down > /dev/null
echo "$passed passed, 0 failed"
