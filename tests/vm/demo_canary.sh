#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# make demo DEMO=canary: the other stock kernel is tried beside the running one, and passes; the same with its slab debugging switched on is tried, and
# fails, because it is slower; redis' client notices nothing of either. Exit 0 only if all was seen; build/demo/canary.json has both verdicts.
set -euo pipefail
LABNAME=${LAB_NAME:-democanary}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
export CPUS=4
rm -f "$top/build/demo/canary.json"
trap 'lab down > /dev/null 2>&1 || true; [ -z "$client_pid" ] || kill "$client_pid" 2> /dev/null || true' EXIT

redis_lab
image=$(other_image)
vm khoctl check --to "$image" > /dev/null || die "check"
machine > "$out/before"

# try NAME CODE OPTION...: shown as a person sees it; what CI sees stays in $out/NAME.json
try() {
	local name=$1 code=$2 rc=0
	shift 2
	say "khoctl canary --kernel $image $*"
	vm khoctl canary --kernel "$image" "$@" || rc=$?
	[ "$rc" = "$code" ] || upgrade_died "$name" "$rc"
	vm khoctl report --json | jq .canary > "$out/$name.json"
	client_alive
	machine > "$out/after"
	diff -u "$out/before" "$out/after" || die "$name: the machine is not as it was"
	echo "exit code $rc; the machine is as before"
}
try passes 0 --for 30s
try fails 8 --for 30s --cmdline slub_debug=FZPU

client_stop
client_whole
mkdir -p "$top/build/demo"
jq -n --slurpfile p "$out/passes.json" --slurpfile f "$out/fails.json" --slurpfile c "$out/client.json" \
	'{passes: $p[0], fails: $f[0], client: ($c[0] | {sent, acked, errors, resets, out_of_order, max_gap_us}), verdict: "pass"}' > "$top/build/demo/canary.json"
[ "$(jq -r '.passes.verdict + " " + .fails.verdict' "$top/build/demo/canary.json")" = "pass fail" ] || die "the verdicts: $(jq -c '[.passes.verdict, .fails.verdict]' "$top/build/demo/canary.json")"
say "the same loads on the canary, times the running kernel's median"
jq -r '.passes.load as $p | .fails.load as $f | range($p | length) | "\($p[.].name): \($p[.].median_ratio) (\($p[.].verdict)), with slab debugging \($f[.].median_ratio) (\($f[.].verdict))"' \
	"$top/build/demo/canary.json"
echo "client: $(jq .acked "$out/client.json") replies in order, the longest wait $(jq .max_gap_us "$out/client.json") us"
echo "2 passed, 0 failed"
say "PASS: one canary passed, one failed because of what was planted; build/demo/canary.json"
