#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# make soak: SOAK (50) upgrades back and forth in one VM, redis with one client connected throughout. After each one what could pile up is
# compared with two upgrades before, when the same kernel ran: CPUs, memory, IRQs, devices, modules, mounts, rules, files, processes and
# their descriptors. What may differ: the page cache (dropped), what grows by design (the AOF, journals,
# kept logs, eight at most), and a page of memory, with the sizes that follow it: where the initramfs ends. In the end
# the series of free memory and of the blackout with their slopes: numbers for a person, except that memory must not go on shrinking.
set -euo pipefail
LABNAME=${LAB_NAME:-soak}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
export CPUS=4
n=${SOAK:-50} passed=0 failed=0
trap 'echo "$passed passed, $((failed + 1)) failed"; lab down > /dev/null 2>&1 || true; [ -z "$client_pid" ] || kill "$client_pid" 2> /dev/null || true' EXIT
no() { echo "FAIL  $*"; failed=$((failed + 1)); }

# Everything in a form that is the same whenever the same kernel runs.
state() {
	# shellcheck disable=SC2016
	vm sh -c 'exec 2>&1
		echo "# cpus"; cat /sys/devices/system/cpu/online /sys/devices/system/cpu/present; awk "/^MemTotal/ { print int(\$2 / 64) * 64 }" /proc/meminfo
		echo "# memory blocks"; cat /sys/devices/system/memory/memory*/state | sort | uniq -c
		echo "# ranges"; grep -E "System RAM|khoctl" /proc/iomem | wc -l; cat /proc/multikernel | wc -l
		echo "# irqs"; sed "1d; s/^ *//" /proc/interrupts | while read -r i rest; do echo "${rest##*  }"; done | sort | uniq -c
		echo "# devices"; for d in /sys/bus/pci/devices/*; do echo "${d##*/} $(basename "$(readlink "$d/driver" || echo none)")"; done
		ls /sys/block | sort; dmsetup ls; ip -o addr | sed "s/valid_lft.*//"; ip route; tc qdisc show; nft list ruleset; lsmod | awk "{ print \$1 }" | sort
		echo "# mounts"; sed -E "s/,(size|nr_inodes)=[0-9]+k?//g" /proc/mounts | sort
		echo "# processes"; ps -e -o ppid=,comm= | awk "\$1 != 2 && \$2 != \"kthreadd\" { print \$2 }" | grep -vxE "sh|ps|awk|grep|sort|uniq|sed" | sort | uniq -c
		echo "# descriptors"; for p in $(cat /run/redis.pid) $(pgrep -x khoctl-incoming) 1; do echo "$(cat /proc/$p/comm) $(ls /proc/$p/fd | wc -l) $(wc -l < /proc/$p/maps)"; done | sort | uniq -c
		echo "# files"; find / -xdev -path /proc -prune -o -path /sys -prune -o -type f -print | grep -vE "^/(data|run/khoctl/(journal|events)|var/lib/khoctl/(journal|events|report|dmesg-))" | sort | uniq -c
		[ "$(ls /var/lib/khoctl/dmesg-* | wc -l)" -le 8 ] || ls /var/lib/khoctl/dmesg-*
		find /run /tmp /dev/shm /dev/mapper -xdev | sed -E "s/[0-9]{4,}/N/g" | sort' | tr -d '\r'
}
# least squares of the second column over the first: the slope
slope() { awk '{ n++; x += $1; y += $2; xx += $1 * $1; xy += $1 * $2 } END { d = n * xx - x * x; printf "%.1f", d ? (n * xy - x * y) / d : 0 }'; }

lab down > /dev/null 2>&1 || true
lab up --cpus 4 --mem 4096
redis_start 16
client_start
rm -f "$out"/state.* "$out"/memory "$out"/blackout
for i in $(seq "$n"); do
	from=$(vm_release); image=$(other_image); to=${image#/boot/vmlinuz-}
	vm khoctl upgrade --to "$image" > "$out/upgrade.$i.txt" 2>&1 || { tail -n 20 "$out/upgrade.$i.txt"; die "upgrade $i"; }
	wait_alone "$to"
	client_alive
	vm khoctl report --json > "$out/report.$i.json" || die "report $i"
	sleep 3
	state > "$out/state.$i"
	echo "$i $(mem_free)" >> "$out/memory"
	echo "$i $(jq '.blackout_us / 1000 | round' "$out/report.$i.json")" >> "$out/blackout"
	line="upgrade $i: $from -> $to, blackout $(tail -n 1 "$out/blackout" | cut -d' ' -f2) ms, $(tail -n 1 "$out/memory" | cut -d' ' -f2) KiB free"
	if [ "$i" -lt 4 ]; then ok "$line"
	elif diff -u "$out/state.$((i - 2))" "$out/state.$i" > "$out/diff.$i"; then ok "$line; nothing differs from two before"
	else no "$line; differs from two before:"; sed -n '3,30p' "$out/diff.$i"; fi
done
client_stop
c=$(jq -c '{sent, acked, errors, resets, out_of_order, max_gap_us}' "$out/client.json")
if [ "$(jq '.errors + .resets + .out_of_order == 0 and .sent == .acked' <<< "$c")" = true ]; then ok "one connection: $c"; else no "the client: $c"; fi

echo "free KiB:    $(cut -d' ' -f2 "$out/memory" | tr '\n' ' ')"
echo "blackout ms: $(cut -d' ' -f2 "$out/blackout" | tr '\n' ' '), slope $(slope < "$out/blackout") ms an upgrade"
# each kernel by itself; the first two are not yet what later ones are
for odd in 1 0; do
	awk -v o="$odd" '$1 > 2 && $1 % 2 == o' "$out/memory" > "$out/memory.$odd"
	s=$(slope < "$out/memory.$odd")
	echo "memory: slope $s KiB an upgrade, of $(wc -l < "$out/memory.$odd")"
	# a leak of a page table or a buffer is more than that; noise over few upgrades, too
	if [ "$n" -lt 12 ] || awk -v s="$s" 'BEGIN { exit s < -512 }'; then ok "memory"; else no "memory shrinks by $s KiB with each upgrade"; fi
done
trap - EXIT
lab down > /dev/null 2>&1 || true
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
