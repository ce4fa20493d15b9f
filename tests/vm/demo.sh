#!/usr/bin/env bash
# make demo: real upgrades 6.12 -> 7.x -> 6.12 -> 7.x of one VM with a client on ONE connection; exit 0 only if all was seen.
# ENGINE=kexec: by kexec, with stock kernels (the state in the initramfs); ENGINE=luo: with two kernels built with Kexec HandOver (25 minutes the first
# time), the state in place.
set -euo pipefail
LABNAME=${LAB_NAME:-demo}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
UPGRADES=${UPGRADES:-3}
ENGINE=${ENGINE:-beside}
kernels=()
if [ "$ENGINE" = luo ]; then kernels=("${LUO_KERNELS[@]}"); fi
export CPUS=${CPUS:-4}
rm -f "$out"/*.json "$out"/floor.* "$out"/aof
trap 'lab down > /dev/null 2>&1 || true; [ -z "$client_pid" ] || kill "$client_pid" 2> /dev/null || true' EXIT

say "a VM with Debian 13 and stock kernels ($CPUS CPUs, ${MEM:-4096} MiB)"
lab down > /dev/null 2>&1 || true
lab up --cpus "$CPUS" --mem "${MEM:-4096}" "${kernels[@]}"
first=$(vm_release)
mem0=$(vm sh -c "sed -n 's/MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo" | tr -d '\r')
redis_start "${DATA_MIB:-64}"
client_start
echo "redis runs on $first; a client outside holds one connection and sends INCRs"

for n in $(seq "$UPGRADES"); do
	floor "$n"
	echo "floor on $(vm_release): criu dump + criu restore of the same process: $(cat "$out/floor.$n") us"
	if [ "$ENGINE" = beside ]; then upgrade "$n"; else upgrade_by_kexec "$n"; fi
	vm khoctl list
	[ "$ENGINE" != beside ] || vm cat /proc/multikernel
done

say "the client"
sleep 2
client_stop
jq -c "{sent, acked, errors, resets, out_of_order, max_gap_us, why}" "$out/client.json"
client_whole
aof_complete "$(jq .acked "$out/client.json")"

release=$(vm_release)
cpus=$(vm sh -c 'grep -c ^processor /proc/cpuinfo' | tr -d '\r')
mem=$(vm sh -c "sed -n 's/MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo" | tr -d '\r')
[ "$cpus" = "$CPUS" ] || die "$cpus CPUs at the end"
[ $((mem * 100)) -ge $((mem0 * 90)) ] || die "memory at the end: $mem KiB of $mem0"
jq -s '.' "$out"/upgrade.*.json > "$out/upgrades.json"
[ "$(jq 'length' "$out/upgrades.json")" = "$UPGRADES" ] || die "an upgrade is missing"
[ "$ENGINE" != beside ] || [ "$(jq -c '[.[].generation]' "$out/upgrades.json")" = "[$(seq -s, 2 $((UPGRADES + 1)))]" ] || die "generations"

jq -n --slurpfile u "$out/upgrades.json" --slurpfile c "$out/client.json" --arg r "$release" --argjson cpus "$cpus" --argjson mem "$mem" \
	'{upgrades: $u[0], client: ($c[0] | {sent, acked, errors, resets, out_of_order, max_gap_us}),
	  final: {release: $r, cpus_online: $cpus, mem_total_kib: $mem}, verdict: "pass"}' > "$out/report.json"

say "phases (us)"
jq -r '.upgrades[] | "\n\(.from) -> \(.to)   generation \(.generation), engine \(.engine)",
	(.phases[] | "  \(.us | tostring | (" " * (9 - length)) + .)  \(.name)"),
	"  \(.blackout_us | tostring | (" " * (9 - length)) + .)  BLACKOUT; floor \(.floor_us), ratio \(.ratio); pre-copied \(.precopy.bytes) bytes in \(.precopy.rounds) rounds"' "$out/report.json"
lab down
disk_is_clean "$top/build/lab/demo/data.img" "$out/fsck.txt"
echo "data disk: clean"
echo "$((UPGRADES + 3)) passed, 0 failed"
say "PASS: $UPGRADES upgrades, one connection, $(jq .client.acked "$out/report.json") replies in order; build/demo/report.json"
