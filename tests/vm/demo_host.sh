#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# make demo DEMO=host: a Debian machine with systemd on its root disk, its services with connected clients, gets a new kernel and the
# old one back (UPGRADES=2). Exit 0 only if all was seen; build/demo/host.json is the report. SERVICES: which are listed.
set -euo pipefail
LABNAME=${LAB_NAME:-demohost}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
# shellcheck source=tests/vm/e2e_host.sh
. "$(dirname "$0")/e2e_host.sh"
UPGRADES=${UPGRADES:-2}
export CPUS=${CPUS:-4}
rm -f "$out"/*.json "$top/build/demo/host.json"
trap 'lab down > /dev/null 2>&1 || true; host_clients_kill' EXIT

say "Debian 13 with systemd on its root disk ($CPUS CPUs, ${MEM:-4096} MiB)"
lab down > /dev/null 2>&1 || true
lab up --host --cpus "$CPUS" --mem "${MEM:-4096}" ${HARDWARE:+--hardware "$HARDWARE"}
runs_well "before anything is done"
mem0=$(vm sh -c "sed -n 's/MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo" | tr -d '\r')
host_list
host_clients_start
host_remember
for s in $SERVICES; do echo "a client outside holds one connection to $s (${UNIT[$s]})"; done

for n in $(seq "$UPGRADES"); do
	to=latest
	[ "$n" = 1 ] || to=rollback
	host_upgrade "$n" "$to"
	vm khoctl list
done

say "the clients"
sleep 2
host_clients_stop
release=$(vm_release)
cpus=$(vm sh -c 'grep -c ^processor /proc/cpuinfo' | tr -d '\r')
mem=$(vm sh -c "sed -n 's/MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo" | tr -d '\r')
[ "$cpus" = "$CPUS" ] || die "$cpus CPUs at the end"
[ $((mem * 100)) -ge $((mem0 * 90)) ] || die "memory at the end: $mem KiB of $mem0"
host_end

mkdir -p "$top/build/demo"
jq -s '.' "$out"/upgrade.*.json > "$out/upgrades.json"
[ "$(jq 'length' "$out/upgrades.json")" = "$UPGRADES" ] || die "an upgrade is missing"
for s in $SERVICES; do jq --arg s "$s" '{($s): {sent, acked, errors, resets, out_of_order, max_gap_us}}' "$out/client.$s.json"; done |
	jq -s 'add' > "$out/clients.json"
jq -n --slurpfile u "$out/upgrades.json" --slurpfile c "$out/clients.json" --arg r "$release" --argjson cpus "$cpus" --argjson mem "$mem" \
	'{upgrades: $u[0], clients: $c[0], final: {release: $r, cpus_online: $cpus, mem_total_kib: $mem, system: "running", fsck: "clean"},
	  verdict: "pass"}' > "$top/build/demo/host.json"
say "blackout (us)"
jq -r '.upgrades[] | "\(.from) -> \(.to): \(.blackout_us), predicted \(.predicted_blackout_us)"' "$top/build/demo/host.json"
jq -r '.clients | to_entries[] | "\(.key): \(.value.acked) replies in order, the longest wait \(.value.max_gap_us) us"' "$top/build/demo/host.json"
echo "$((UPGRADES + 2)) passed, 0 failed"
say "PASS: $UPGRADES upgrades of a Debian machine, units: $SERVICES; build/demo/host.json"
