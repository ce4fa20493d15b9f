#!/usr/bin/env bash
# make bench: ratios measured side by side in one run; build/bench/report.json. No assertion on times.
#   blackout / floor            one upgrade of a 64 MiB redis against criu dump + restore on one kernel
#   blackout by resident size   64, 512, 1536 MiB at a low dirty rate: largest / smallest
#   link                        doorbell and polled round trips against a pipe, bulk transfer against memcpy
set -euo pipefail
LABNAME=bench
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/../vm/e2e.sh"
export CPUS=4
SIZES=${SIZES:-64 512 1536}
rm -f "$out"/*.json "$out"/floor.*
trap 'lab down > /dev/null 2>&1 || true; [ -z "$client_pid" ] || kill "$client_pid" 2> /dev/null || true' EXIT

for mib in $SIZES; do
	say "redis with $mib MiB"
	lab down > /dev/null 2>&1 || true
	lab up --cpus 4 --mem $((4096 + mib * 4))
	redis_start "$mib"
	CLIENT_INTERVAL_US=20000 client_start
	floor "$mib"
	upgrade "$mib"
	client_stop
	jq --argjson mib "$mib" '{mib: $mib, blackout_us, floor_us, ratio, phases, precopy}' "$out/upgrade.$mib.json" > "$out/size.$mib.json"
	lab down
done

say "link"
lab up --cpus 4 --mem 4096
redis_start 0
lab put "$top/build/tests/bench/link_bench" /run/link_bench
image=$(other_image)
# starts an incoming kernel of its own and stops it again: the link has room for one process only
vm /run/link_bench --to "$image" > "$out/link.json"
lab down

sizes=()
for mib in $SIZES; do sizes+=("$out/size.$mib.json"); done
jq -s '.' "${sizes[@]}" > "$out/sizes.json"
jq -n --slurpfile s "$out/sizes.json" --slurpfile l "$out/link.json" \
	'{sizes: $s[0], blackout_over_floor: $s[0][0].ratio,
	  largest_over_smallest: (($s[0] | max_by(.mib).blackout_us) / ($s[0] | min_by(.mib).blackout_us) * 1000 | round / 1000),
	  link: ($l[0] // null)}' | tee "$out/report.json"
