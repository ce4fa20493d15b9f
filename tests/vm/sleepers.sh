#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Does this machine's QEMU always wake its CPUs? Boots bare VMs, one after the other, in which `sleepers` is PID 1, and counts the
# rounds in which a CPU overslept or the whole VM stood still. Of such a round build/sleepers/N.state says what QEMU thought
# of its CPUs, and whether `stop` and `cont` (which make each CPU look at its interrupts again) set it going.
#   sleepers.sh [--qemu QEMU] [--kernel RELEASE] [--rounds N] [--seconds N] [--cpus N] [--append WORDS] [-- QEMU-OPTION...]
# A computer that is busy otherwise makes it more likely. $LAB_WRAP, $LAB_ACCEL: as for `lab`.
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "$0")/common.sh"

STILL=${STILL:-60}
rounds=3 seconds=80 cpus=4 append='' extra=()
cache_env
kernel=$INCOMING
while [ $# -gt 0 ]; do
	case $1 in
	--qemu) QEMU=$2 ;;
	--kernel) kernel=$2 ;;
	--rounds) rounds=$2 ;;
	--seconds) seconds=$2 ;;
	--cpus) cpus=$2 ;;
	--append) append=$2 ;;
	--) shift; extra=("$@"); break ;;
	*) fail "unknown option '$1'" ;;
	esac
	shift 2
done
need cpio socat
out=$builddir/sleepers
mkdir -p "$out/root/dev" "$out/root/sys"
cp "$builddir/tests/vm/sleepers" "$out/root/init"
[ -c "$out/root/dev/console" ] || { mknod "$out/root/dev/console" c 5 1; mknod "$out/root/dev/kmsg" c 1 11; }
(cd "$out/root" && find . -mindepth 1 | cpio -o -H newc --quiet -R 0:0) > "$out/initrd"

monitor() { for c in "$@"; do printf '%s\n' "$c"; sleep 0.5; done | timeout 20 socat - "UNIX-CONNECT:$out/monitor" || true; }
size() { stat -c %s "$log"; }

look() {	# what stands still, and what helps
	local before i cpu=()
	for i in $(seq 0 $((cpus - 1))); do cpu+=("cpu $i" 'info lapic'); done
	before=$(size)
	{ monitor 'info cpus' 'info registers -a' "${cpu[@]}" 'info pic'; } > "$out/$n.state"
	sleep 10
	[ "$(size)" = "$before" ] || { note "  goes on after it was looked at"; return; }
	monitor stop cont >> "$out/$n.state"
	sleep 10
	if [ "$(size)" = "$before" ]; then note "  stop and cont do not help"; else note "  stop and cont set it going"; fi
}

round() {
	local last='' since=$SECONDS looked=''
	: > "$log"
	# shellcheck disable=SC2086
	${LAB_WRAP:-} "$QEMU" -machine q35 -accel "${LAB_ACCEL:-tcg,thread=multi,tb-size=64}" -cpu max,erms=off,fsrm=off -smp "$cpus" -m 512 \
		-nodefaults -display none -no-reboot -serial "file:$log" -monitor "unix:$out/monitor,server=on,wait=off" \
		-kernel "$cache/kernels/$kernel/boot/vmlinuz-$kernel" -initrd "$out/initrd" \
		-append "console=ttyS0 printk.devkmsg=on panic=1 SECONDS=$seconds $append" "${extra[@]}" > "$out/qemu.out" 2>&1 < /dev/null &
	qemu=$!
	trap 'kill $qemu 2> /dev/null || true' EXIT
	while kill -0 $qemu 2> /dev/null; do
		sleep 1
		[ "$(size)" = "$last" ] || { last=$(size); since=$SECONDS; }
		if [ "$last" = 0 ] || [ $((SECONDS - since)) -le "$STILL" ]; then continue; fi
		[ -z "$looked" ] || { kill $qemu; break; }
		note "round $n: stands still"
		look; looked=1; since=$SECONDS bad=1
	done
	wait $qemu || true
	trap - EXIT
}

failed=0
for n in $(seq "$rounds"); do
	log=$out/$n.log bad=
	round
	grep -qs 'SLEEPERS: END: 0 stuck' "$log" || bad=1
	! grep -qsE 'rcu: INFO|soft lockup' "$log" || bad=1
	awk -v n="$n" -v bad="$bad" '/STUCK/ { stuck++ }
		/SLEEPERS:/ { for (i = 2; i < NF; i++) {
			if ($i == "wakes,") wakes += $(i - 1)
			if ($i == "worst" && $(i + 1) > worst) worst = $(i + 1)
			if ($i == "late") late += $(i - 1)
		} }
		END { printf "round %d: %s: %d wakes, worst %d ms, %d late by a second, %d overslept\n", n, bad ? "BAD" : "good", wakes, worst, late, stuck }' "$log"
	[ -z "$bad" ] || failed=$((failed + 1))
done
echo "$("$QEMU" --version | head -1), $kernel: $failed of $rounds rounds bad"
[ "$failed" = 0 ]
