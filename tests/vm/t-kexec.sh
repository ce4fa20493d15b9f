#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The kexec engine: the incoming kernel takes the place of this one, redis and its one connection go over with it. Stock kernels, whose state
# goes along in the initramfs: there and back (that is an upgrade, too), undone before the jump, and back by itself when the incoming kernel
# cannot restore; and with the state on a disk. KEXEC=luo: kernels built with Kexec HandOver and the Live Update Orchestrator (cache.sh kernel built/kho), the state stays in place,
# somebody else's session goes along, and while another process holds the device the initramfs is taken.
set -euo pipefail
LABNAME=${LAB_NAME:-kexec}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
export CPUS=${CPUS:-2}
trap 'lab down > /dev/null 2>&1 || true; [ -z "$client_pid" ] || kill "$client_pid" 2> /dev/null || true' EXIT
carrier='the initramfs'
kernels=()
if [ "${KEXEC:-}" = luo ]; then
	carrier='the Live Update Orchestrator'
	kernels=("${LUO_KERNELS[@]}")
fi

# packed N: stock kernels unpack zstd, and their configuration is in /boot: so upgrade N was packed, and its command line has what depends on CONFIG_HZ
packed() {
	has "check.$1.txt" 'about [0-9]+ MiB, packed'
	vm grep -qE '(^| )lpj=[1-9][0-9]+( |$)' /proc/cmdline || die "no lpj= on the command line: $(vm cat /proc/cmdline)"
	grep -ao 'initramfs with it: .*' "$out/jump.$1.txt" || true
}
# calm: the kernel's grace periods take their time again, within seconds of the report
calm() {
	local i
	for i in $(seq 30); do
		[ "$(vm cat /sys/kernel/rcu_expedited | tr -d '\r\n')" != 0 ] || return 0
		sleep 1
	done
	die "rcu_expedited is still set"
}
# jump N [OPTION...]: an upgrade by kexec, and how long each part took
jump() {
	local from
	from=$(vm_release)
	upgrade_by_kexec "$@"
	has "check.$1.txt" "$carrier"
	[ "${KEXEC:-}" = luo ] || packed "$1"
	calm
	ok "$from -> $(vm_release): $(jq .blackout_us "$out/report.$1.json") us of blackout"
	jq -r '.phases[] | "      \(.us) \(.name)"' "$out/report.$1.json"
}
pid_of_redis() { vm redis-cli info server | tr -d '\r' | sed -n 's/^process_id://p'; }

lab down > /dev/null 2>&1 || true
lab up --cpus "$CPUS" --mem 4096 "${kernels[@]}"
first=$(vm_release)
redis_start 16
pid=$(pid_of_redis)
client_start

# before the jump all is undone, as with a kernel beside. (What looks at a machine may load modules: once before.)
vm khoctl upgrade --to "$(other_image)" --engine kexec --dry-run > "$out/dry.txt" || { cat "$out/dry.txt"; die "dry run"; }
machine > "$out/before"
rc=0
vm env KHOCTL_FAULT=restore:fail khoctl upgrade --to "$(other_image)" --engine kexec > "$out/undone.txt" 2>&1 || rc=$?
[ "$rc" = 3 ] || { tail -n 30 "$out/undone.txt"; die "an upgrade that fails before the jump: exit code $rc, wanted 3"; }
client_alive
machine > "$out/undone"
diff -u "$out/before" "$out/undone" || die "the machine is not as it was"
[ "$(vm cat /sys/kernel/kexec_loaded | tr -d '\r')" = 0 ] || die "a kernel is still loaded"
ok "undone before the jump: the machine is as before"

# the state goes over the data disk: refused where it must not lie, and undone
carry=/data/khoctl
# no_carry: the folder is gone, or goes, behind the report, within seconds
no_carry() {
	local i
	for i in $(seq 30); do
		! vm test ! -e "$carry/khoctl-state" || return 0
		sleep 1
	done
	die "$carry/khoctl-state is still there"
}
refused_carry() { # DIR PATTERN
	local rc=0
	vm khoctl check --to "$(other_image)" --engine kexec --state-dir "$1" > "$out/refused.txt" 2>&1 || rc=$?
	[ "$rc" = 2 ] || { cat "$out/refused.txt"; die "--state-dir $1: exit code $rc, wanted 2"; }
	has refused.txt "$2"
}
# carry_is_undone NAME RC: by an upgrade that ended so, whose output is undone.NAME.txt
carry_is_undone() {
	[ "$2" = 3 ] || { tail -n 30 "$out/undone.$1.txt"; die "an upgrade over a disk that fails before the jump ($1): exit code $2, wanted 3"; }
	client_alive
	machine > "$out/undone.$1"
	diff -u "$out/before" "$out/undone.$1" || die "the machine is not as it was ($1)"
	vm test ! -e "$carry/khoctl-state" || die "the state is still on the disk ($1)"
}
carry_undone() {
	local rc=0 image
	vm mkdir -p -m 700 "$carry" /run/carry
	refused_carry /run/carry 'neither on ext4 nor on xfs'
	vm chmod 777 "$carry"
	refused_carry "$carry" "must be root's"
	vm chmod 700 "$carry"
	vm mkdir "$carry/khoctl-state"
	refused_carry "$carry" 'is there already'
	vm rmdir "$carry/khoctl-state"
	vm env KHOCTL_FAULT=restore:fail khoctl upgrade --to "$(other_image)" --engine kexec --state-dir "$carry" > "$out/undone.disk.txt" 2>&1 || rc=$?
	carry_is_undone disk "$rc"
	# and with all of it written and the file system frozen once more: the kernel, which was loaded before, is gone when it is to be loaded with the state
	rc=0 image=$(other_image)
	vm sh -c '(until [ "$(cat /sys/kernel/kexec_loaded)" = 1 ]; do sleep 0.1; done; exec mv "$1" "$1.away") > /dev/null 2>&1 &
		khoctl upgrade --to "$1" --engine kexec --state-dir "$2"; rc=$?; kill $! 2> /dev/null; mv "$1.away" "$1"; exit $rc' \
		sh "$image" "$carry" > "$out/undone.late.txt" 2>&1 || rc=$?
	has undone.late.txt 'vmlinuz-.*: No such file'
	carry_is_undone late "$rc"
	[ "$(vm cat /sys/kernel/kexec_loaded | tr -d '\r')" = 0 ] || die "a kernel is still loaded"
	ok "over a disk: refused elsewhere; undone before it is written and after it, the machine is as before"
}
[ "${KEXEC:-}" = luo ] || carry_undone

# hold KIND WHAT: the lab's program holder has it from now on; let_go: no more
hold() {
	lab put "$top/build/tests/vm/holder" /run/holder
	vm sh -c 'chmod 755 /run/holder; rm -f /run/holder.pid; setsid /run/holder "$1" "$2" /run/holder.pid < /dev/null > /run/holder.log 2>&1
		for i in 1 2 3 4 5 6 7 8 9 10; do [ ! -s /run/holder.pid ] || exit 0; sleep 0.2; done; cat /run/holder.log; exit 1' sh "$1" "$2" || die "holder $1 $2"
}
let_go() { vm sh -c 'p=$(cat /run/holder.pid); kill "$p"; while [ -e "/proc/$p/fd/0" ]; do sleep 0.1; done'; }

# somebody else's session, here of systemd's name: it is told, goes along untouched, and can be got there by who asks for it
if [ "${KEXEC:-}" = luo ]; then hold session systemd; fi
jump 1
[ "$(pid_of_redis)" = "$pid" ] || die "redis has another number"
if [ "${KEXEC:-}" = luo ]; then
	has check.1.txt "live update sessions \('systemd' of holder, pid [0-9]+\)"
	lab put "$top/build/tests/vm/holder" /run/holder
	[ "$(in_vm 'chmod 755 /run/holder; /run/holder retrieve systemd 2>&1')" = systemd ] || die "the session of somebody else is not there any more"
	ok "another one's session went along and is whole"
fi
jump 2
[ "$(vm_release)" = "$first" ] || die "$first does not run again"
[ "$(pid_of_redis)" = "$pid" ] || die "redis has another number"

comes_back() {
	local n=$1
	shift
	back_by_kexec "$n" 120 "$@"
	client_alive
	[ "$(pid_of_redis)" = "$pid" ] || die "redis has another number"
	ok "back by itself: $(vm khoctl report --json | jq .blackout_us) us of blackout"
}
comes_back 1
chain="rolled back, upgraded, upgraded, rolled back"

# over the data disk: there, and back by itself; nothing of it stays
if [ "${KEXEC:-}" != luo ]; then
	say "the state goes over a disk"
	carrier='a disk'
	jump 3 --state-dir "$carry"
	[ "$(pid_of_redis)" = "$pid" ] || die "redis has another number"
	jq -e 'any(.phases[]; .name == "state from disk")' "$out/report.3.json" > /dev/null || die "the disk was not used"
	no_carry
	comes_back 2 --state-dir "$carry"
	no_carry
	chain="rolled back, rolled back, $chain, upgraded, rolled back"
fi

# held_device N: while another process has the device, an upgrade goes by the initramfs and says who it is; when it is free again, it would not
held_device() {
	local pid_re
	say "another process holds /dev/liveupdate"
	hold device /dev/liveupdate
	vm khoctl check --to "$(other_image)" --engine kexec > "$out/check.held.txt" 2>&1 || { cat "$out/check.held.txt"; die "check with the device held"; }
	pid_re=$(in_vm 'cat /run/holder.pid')
	has check.held.txt "the initramfs: /dev/liveupdate is held by holder \(pid $pid_re\)"
	let_go
	vm khoctl check --to "$(other_image)" --engine kexec > "$out/check.free.txt" 2>&1 || { cat "$out/check.free.txt"; die "check with the device free again"; }
	has check.free.txt 'the Live Update Orchestrator \(in place'
	hold device /dev/liveupdate
	carrier='the initramfs'
	jump "$1"
	[ "$(pid_of_redis)" = "$pid" ] || die "redis has another number"
	vm grep -q 'khoctl.handed=initrd' /proc/cmdline || die "$(vm_release) was not told of the initramfs"
	ok "the device was held: through the initramfs"
}
if [ "${KEXEC:-}" = luo ]; then
	held_device 3
	chain="$chain, upgraded"
fi

# the chain of kernels: undone, up, back, and one that came back by itself; and all that went over a disk
[ "${KEXEC:-}" != luo ] || vm sh -c '[ -e /sys/kernel/debug/kho ] || mount -t debugfs debugfs /sys/kernel/debug'
vm khoctl history | tr -d '\r' | tee "$out/history.txt"
vm khoctl history --json > "$out/history.json" || die "khoctl history"
[ "$(jq -r '[.upgrades[] | .outcome] | join(", ")' "$out/history.json")" = "$chain" ] ||
	die "the history is another one"
# with Kexec HandOver the kernel itself knows: two jumps, two of the one that went back, and the one through the initramfs
if [ "${KEXEC:-}" = luo ]; then
	[ "$(jq -c '.kexec_metadata | [.kexec_count, .agrees]' "$out/history.json")" = '[5,true]' ] ||
		die "the kernel's own record: $(jq -c '[.kexec_metadata, .notes]' "$out/history.json")"
fi
ok "khoctl history: $(jq '.upgrades | length' "$out/history.json") upgrades"

client_stop
jq -c '{sent, acked, errors, resets, out_of_order, max_gap_us}' "$out/client.json"
client_whole
ok "one connection, $(jq .acked "$out/client.json") replies in order"
aof_complete "$(jq .acked "$out/client.json")"
ok "the AOF is complete"
lab down
disk_is_clean "$top/build/lab/$LAB_NAME/data.img" "$out/fsck.txt"
ok "the disk is clean"
echo "$passed passed, 0 failed"
