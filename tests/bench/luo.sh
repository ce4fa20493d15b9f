#!/usr/bin/env bash
# One machine with its root in RAM and redis on a data disk, two kernels with Kexec HandOver and the Live Update Orchestrator (tests/vm/cache.sh kernel
# built/kho and built/kho-before), twice from the one to the other: how long nobody answers from outside.
#   plain    kexec-tools' kexec with the lab's own initramfs and command line; redis is started from its data as soon as the machine takes commands
#   luo      khoctl upgrade --engine kexec, whose carrier is the Live Update Orchestrator
# Ratio into build/bench-luo/report.json. No assertion on times.
set -euo pipefail
LABNAME=bench-luo
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/../vm/e2e.sh"
# shellcheck source=tests/bench/ways.sh
. "$(dirname "$0")/ways.sh"
export CPUS=4
MIB=${MIB:-64}
watcher=
trap 'lab down > /dev/null 2>&1 || true; [ -z "$watcher" ] || kill "$watcher" 2> /dev/null || true' EXIT

# kexec-tools for $LAB_OVERLAY
programs() {
	local p
	rm -rf "$out/overlay"
	mkdir -p "$out/overlay"
	for p in $(kexec_packages); do
		p=$("$here/cache.sh" package "$p" | tail -n 1)
		(cd "$p" && find usr -path usr/sbin/kexec -o -path 'usr/lib/*/lib*.so*' | cpio -pdm --quiet "$out/overlay")
	done
	[ -x "$out/overlay/usr/sbin/kexec" ] || die "kexec-tools have no kexec"
}

# The machine with redis, its data on the disk; and the other kernel in $to
machine_up() {
	local i
	lab down > /dev/null 2>&1 || true
	LAB_OVERLAY=$out/overlay lab up --cpus "$CPUS" --mem 4096 "${LUO_KERNELS[@]}"
	redis_start "$MIB"
	# (what is populated by way of debug is not in its log before that is written anew)
	vm redis-cli bgrewriteaof > /dev/null
	for i in $(seq 100); do
		! vm redis-cli info persistence | tr -d '\r' | grep -qE 'aof_rewrite_(in_progress|scheduled):1' || { sleep 0.5; continue; }
		break
	done
	[ "$i" -lt 100 ] || die "redis does not write its log anew"
	to=$(other_image)
}
asks_begin() {
	asks > "$out/$1.answers" & watcher=$!
	sleep 3
}
# asks_end WAY N: redis answers again, after the N answers there were
asks_end() {
	local i
	for i in $(seq 60); do
		[ "$(wc -l < "$out/$1.answers")" -le "$2" ] || break
		[ "$i" -lt 60 ] || die "$1: redis does not answer any more"
		sleep 1
	done
	sleep 3
	kill "$watcher"; wait "$watcher" 2> /dev/null || true
	watcher=
	[ "$(vm redis-cli dbsize | tr -d '\r\n')" = $((MIB * 1024)) ] || die "$1: redis has $(vm redis-cli dbsize) keys"
	way_json "$1"
}
# comes_up: $to runs and takes commands
comes_up() {
	local i
	for i in $(seq 300); do
		[ "$(LAB_WAIT=2 vm_release 2> /dev/null)" != "${to#/boot/vmlinuz-}" ] || return 0
		sleep 0.1
	done
	tail -n 20 "$top/build/lab/$LAB_NAME/outgoing.log"
	die "${to#/boot/vmlinuz-} does not run"
}

plain() {
	local n
	machine_up
	lab put "$top/build/lab/$LAB_NAME/initrd" /run/initrd
	# shellcheck disable=SC2016
	vm sh -c 'exec /usr/sbin/kexec -s -l "$1" --initrd=/run/initrd --command-line="$(cat /proc/cmdline)"' sh "$to" || die "kexec -l"
	asks_begin plain
	# shellcheck disable=SC2016
	LAB_WAIT=20 vm sh -c 'redis-cli shutdown; i=0; while [ -e /run/redis.pid ] && [ $i -lt 100 ]; do i=$((i + 1)); sleep 0.1; done
		umount /data; exec /usr/sbin/kexec -e' > "$out/plain.txt" 2>&1 || true
	n=$(wc -l < "$out/plain.answers")
	comes_up
	vm setsid redis-server --port 6379 --bind 0.0.0.0 --protected-mode no --save '' --appendonly yes --dir /data --daemonize yes \
		--pidfile /run/redis.pid --logfile /data/redis.log || die "redis does not start again"
	asks_end plain "$n"
}

luo() {
	local n i
	machine_up
	vm khoctl check --to "$to" --engine kexec > "$out/check.txt" 2>&1 || { cat "$out/check.txt"; die "check"; }
	has check.txt 'the Live Update Orchestrator'
	asks_begin luo
	vm khoctl upgrade --to "$to" --engine kexec > "$out/luo.txt" 2>&1 || true
	n=$(wc -l < "$out/luo.answers")
	comes_up
	for i in $(seq 60); do
		[ "$(vm khoctl report --json 2> /dev/null | jq -r .outcome 2> /dev/null)" != upgraded ] || break
		[ "$i" -lt 60 ] || { tail -n 30 "$out/luo.txt"; die "it is not upgraded"; }
		sleep 1
	done
	vm khoctl report --json > "$out/report.luo.json"
	asks_end luo "$n"
}

rm -f "$out"/way.*.json
programs
plain
lab down
luo
lab down
jq -s --slurpfile r "$out/report.luo.json" 'map({(.way): .silent_us}) | add as $w | {silent_us: $w, blackout_us: $r[0].blackout_us,
	ratios: {luo_over_plain: ($w.luo / $w.plain * 1000 | round / 1000)}}' "$out"/way.*.json | tee "$out/report.json"
