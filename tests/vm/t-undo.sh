#!/usr/bin/env bash
# An upgrade that fails before commit leaves the machine as it was: same connection, same CPUs, memory, qdiscs, mounts, bindings.
# One VM, several failures one after the other, and at the end an upgrade that works, with the same client still connected.
set -euo pipefail
LABNAME=${LAB_NAME:-undo}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
export CPUS=4
trap 'lab down > /dev/null 2>&1 || true; [ -z "$client_pid" ] || kill "$client_pid" 2> /dev/null || true' EXIT
passed=0

# fails NAME WANTED_EXIT COMMAND...: the command must fail with that code and leave nothing behind
fails() {
	local name=$1 want=$2 rc=0 m
	shift 2
	vm "$@" > "$out/$name.txt" 2>&1 || rc=$?
	[ "$rc" = "$want" ] || { tail -30 "$out/$name.txt"; die "$name: exit code $rc, wanted $want"; }
	client_alive
	machine > "$out/$name.after"
	diff -u "$out/before" "$out/$name.after" || die "$name: the machine is not as it was"
	m=$(mem_free)
	[ $((m + 65536)) -ge "$free" ] || die "$name: $((free - m)) KiB of memory are missing"
	echo "ok    $name: exit code $rc, machine as before ($(tail -n 1 "$out/$name.txt" | tr -d '\r' | cut -c1-110))"
	passed=$((passed + 1))
}

redis_lab
image=$(other_image)
vm khoctl check --to "$image" > /dev/null || die "check"
vm khoctl upgrade --to "$image" --dry-run > /dev/null || die "dry run"
machine > "$out/before"
free=$(mem_free)

# says NAME WORDS: that is what the operator was told
says() { grep -qE "$2" "$out/$1.txt" || { tail -30 "$out/$1.txt"; die "$1: did not say '$2'"; }; }
# rare COMMAND...: only with UNDO=all (make test-undo); the others differ enough to stand for it
rare() { [ "${UNDO:-}" != all ] || "$@"; }
# peer_fails NAME FAULT WORDS: the incoming kernel does FAULT (KHOCTL_FAULT), and all is undone
peer_fails() {
	fails "$1" 3 env KHOCTL_FAULT="$2" khoctl upgrade --to "$image" --cmdline khoctl.fault=1
	says "$1" "$3"
}
# boot_fails NAME KIND WORDS [SECONDS]: it ends before its khoctl module is loaded
boot_fails() {
	fails "$1" 3 env KHOCTL_BOOT_SECONDS="${4:-120}" khoctl upgrade --to "$image" --cmdline "rdinit=/usr/lib/khoctl-lab/hang_init badinit=$2"
	says "$1" "$3"
}

for rel in $(vm ls /lib/modules | tr -d '\r'); do
	for m in hang scribble; do lab put "$top/build/module/$rel/khoctl-$m.ko" "/lib/modules/$rel/updates/khoctl-$m.ko"; done
done
lab put "$top/build/tests/vm/hang_init" /usr/lib/khoctl-lab/hang_init

# what is wrong is seen before anything is touched
fails no-kernel 2 khoctl upgrade --to /etc/passwd
fails truncated 2 sh -c "head -c 2000000 $image > /run/short; khoctl upgrade --to /run/short; rc=\$?; rm /run/short; exit \$rc"
fails no-modules 2 sh -c "mv /lib/modules/${image#/boot/vmlinuz-} /lib/modules/away; khoctl upgrade --to $image; rc=\$?; mv /lib/modules/away /lib/modules/${image#/boot/vmlinuz-}; exit \$rc"
fails too-big 2 khoctl upgrade --to "$image" --memory 64G

# the incoming kernel ends while it boots: on its own, by a first process that is no good
fails boot-panic 3 khoctl upgrade --to "$image" --cmdline 'rdinit=/nonexistent init=/nonexistent root=/dev/none'
says boot-panic 'it said: Kernel panic - not syncing: '
boot_fails boot-reboot reboot 'it said: reboot: Restarting system'
rare boot_fails boot-poweroff poweroff 'it said: reboot: '
boot_fails boot-hang hang 'no sign of life after 25 s' 25

# a step of ours fails
rare fails fault-shift 3 env KHOCTL_FAULT=shift:fail khoctl upgrade --to "$image"
fails fault-restore 3 env KHOCTL_FAULT=restore:fail khoctl upgrade --to "$image"

# the incoming kernel is lost: while memory is copied, when it has devices, when it has the processes
rare peer_fails panic-precopy precopy:peer-panic 'has panicked'
peer_fails hang-precopy precopy:peer-hang 'no heartbeat for more than 10 s'
rare peer_fails silent-precopy precopy:peer-stop 'agent has (been silent|not answered)'
rare peer_fails reboot-precopy precopy:peer-reboot 'has halted'
peer_fails panic-shift shift.after:peer-panic 'has panicked'
rare peer_fails hang-shift shift.after:peer-hang 'no heartbeat for more than 10 s'
peer_fails silent-shift shift.after:peer-stop 'agent has (been silent|not answered)'
# it writes noise over all that both kernels share
rare peer_fails scribble-precopy precopy:peer-scribble '.'
peer_fails scribble-shift shift.after:peer-scribble '.'

upgrade 1
client_stop
client_whole
passed=$((passed + 1))
echo "ok    after all that an upgrade, one connection, $(jq .acked "$out/client.json") replies in order"
echo "$passed passed, 0 failed"
