#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The kexec engine: the incoming kernel takes the place of this one, redis and its one connection go over with it. Stock kernels, whose state
# goes along in the initramfs: there and back (that is an upgrade, too), undone before the jump, and back by itself when the incoming kernel
# cannot restore. KEXEC=luo: kernels built with Kexec HandOver and the Live Update Orchestrator (cache.sh kernel built/kho), the state stays in place.
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

# jump N: an upgrade by kexec, and how long each part took
jump() {
	local from
	from=$(vm_release)
	upgrade_by_kexec "$1"
	has "check.$1.txt" "$carrier"
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

jump 1
[ "$(pid_of_redis)" = "$pid" ] || die "redis has another number"
jump 2
[ "$(vm_release)" = "$first" ] || die "$first does not run again"
[ "$(pid_of_redis)" = "$pid" ] || die "redis has another number"

# a CRIU of the next kernel is killed in the middle of its restore: that kernel starts this one again, with everything
say "the next kernel cannot restore"
vm env KHOCTL_FAULT=proc.retrieve:peer-criu khoctl upgrade --to "$(other_image)" --engine kexec --cmdline khoctl.fault=1 > "$out/back.txt" 2>&1 || true
for i in $(seq 120); do
	[ "$(vm khoctl report --json 2> /dev/null | jq -r .outcome 2> /dev/null)" != "rolled back" ] || break
	[ "$i" -lt 120 ] || { tail -n 40 "$out/back.txt" "$top/build/lab/$LAB_NAME/outgoing.log"; die "the way back did not come to its end"; }
	sleep 1
done
[ "$(vm_release)" = "$first" ] || die "$first does not run again"
client_alive
[ "$(pid_of_redis)" = "$pid" ] || die "redis has another number"
vm khoctl report > "$out/back.report"
has back.report 'could not go on'
ok "back by itself: $(vm khoctl report --json | jq .blackout_us) us of blackout"

# the chain of kernels: undone, up, back, and one that came back by itself
[ "${KEXEC:-}" != luo ] || vm sh -c '[ -e /sys/kernel/debug/kho ] || mount -t debugfs debugfs /sys/kernel/debug'
vm khoctl history | tr -d '\r' | tee "$out/history.txt"
vm khoctl history --json > "$out/history.json" || die "khoctl history"
[ "$(jq -r '[.upgrades[] | .outcome] | join(", ")' "$out/history.json")" = "rolled back, upgraded, upgraded, rolled back" ] ||
	die "the history is another one"
# with Kexec HandOver the kernel itself knows: two jumps, and two of the one that went back
if [ "${KEXEC:-}" = luo ]; then
	[ "$(jq -c '.kexec_metadata | [.kexec_count, .agrees]' "$out/history.json")" = '[4,true]' ] ||
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
