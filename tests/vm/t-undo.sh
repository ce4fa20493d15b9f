#!/usr/bin/env bash
# An upgrade that fails before commit leaves the machine as it was: same connection, same CPUs, memory, qdiscs, mounts, bindings.
# One VM, several failures one after the other, and at the end an upgrade that works, with the same client still connected.
set -euo pipefail
LABNAME=undo
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
export CPUS=4
trap 'lab down > /dev/null 2>&1 || true; [ -z "$client_pid" ] || kill "$client_pid" 2> /dev/null || true' EXIT
passed=0

# Everything that must be the same before and after; memory is compared apart. What may stay: the record of what was tried (journal,
# events), the lock's file, empty folders.
machine() {
	vm sh -c 'cat /sys/devices/system/cpu/online; ls /proc/multikernel; lsmod | cut -d" " -f1 | sort
		for d in /sys/bus/pci/devices/*; do echo "${d##*/} $(basename "$(readlink "$d/driver" || echo none)")"; done
		ip -o addr | sed "s/valid_lft.*//"; ip route; tc qdisc show dev eth0; nft list ruleset; cat /proc/mounts | sort
		ls /sys/block | sort; cat /proc/sys/kernel/panic; ps -eo comm= 2>/dev/null | grep -v -e kworker -e "^ps$" -e "^sh$" | sort | uniq -c
		find /sys/fs/cgroup -name cgroup.freeze -exec cat {} + 2>/dev/null | sort | uniq -c; find /run/khoctl /var/lib/khoctl -mindepth 1 2>/dev/null | grep -vE "/(lock|packed|no-plugins|images|(journal|events)[^/]*)$" | sort' | tr -d '\r'
}
mem_free() { vm sh -c 'echo 3 > /proc/sys/vm/drop_caches; sed -n "s/MemAvailable: *\([0-9]*\).*/\1/p" /proc/meminfo' | tr -d '\r'; }

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

lab down > /dev/null 2>&1 || true
lab up --cpus 4 --mem 4096
redis_start 16
client_start
image=$(other_image)
vm khoctl check --to "$image" > /dev/null || die "check"
vm khoctl upgrade --to "$image" --dry-run > /dev/null || die "dry run"
machine > "$out/before"
free=$(mem_free)

fails no-kernel 2 khoctl upgrade --to /etc/passwd
fails truncated 2 sh -c "head -c 2000000 $image > /run/short; khoctl upgrade --to /run/short; rc=\$?; rm /run/short; exit \$rc"
fails no-modules 2 sh -c "mv /lib/modules/${image#/boot/vmlinuz-} /lib/modules/away; khoctl upgrade --to $image; rc=\$?; mv /lib/modules/away /lib/modules/${image#/boot/vmlinuz-}; exit \$rc"
fails too-big 2 khoctl upgrade --to "$image" --memory 64G
fails spawn-panic 3 khoctl upgrade --to "$image" --cmdline 'rdinit=/nonexistent init=/nonexistent root=/dev/none'
fails fault-precopy 3 env KHOCTL_FAULT=precopy:fail khoctl upgrade --to "$image"
fails fault-freeze 3 env KHOCTL_FAULT=freeze:fail khoctl upgrade --to "$image"
fails fault-shift 3 env KHOCTL_FAULT=shift:fail khoctl upgrade --to "$image"
fails fault-restore 3 env KHOCTL_FAULT=restore:fail khoctl upgrade --to "$image"

upgrade 1
client_stop
[ "$(jq '.errors + .resets + .out_of_order' "$out/client.json")" = 0 ] || die "the client saw errors"
[ "$(jq '.sent == .acked' "$out/client.json")" = true ] || die "replies are missing"
passed=$((passed + 1))
echo "ok    after all that an upgrade, one connection, $(jq .acked "$out/client.json") replies in order"
echo "$passed passed, 0 failed"
