#!/usr/bin/env bash
# What khoctl record takes of redis at full speed: requests a second by redis-benchmark beside redis, without and with the recorder in turn, in one
# VM in one run; the ratio of the medians into build/bench-recorder/report.json. No assertion.
set -euo pipefail
LABNAME=${LAB_NAME:-bench-recorder}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/../vm/e2e.sh"
export CPUS=4
ROUNDS=${ROUNDS:-9} REQUESTS=${REQUESTS:-60000}
trap 'lab down > /dev/null 2>&1 || true' EXIT

lab down > /dev/null 2>&1 || true
lab up --cpus 4 --mem 4096
redis_start 0
vm sh -c 'taskset -acp 1 "$(cat /run/redis.pid)"' > /dev/null
# shellcheck disable=SC2016
rate() { in_vm 'taskset -c 2 redis-benchmark -n '"$REQUESTS"' -c 8 -t set --csv | tail -n 1 | cut -d, -f2 | tr -d \"'; }
rate > /dev/null # warm
: > "$out/off"; : > "$out/on"
for _ in $(seq "$ROUNDS"); do
	rate >> "$out/off"
	# shellcheck disable=SC2016
	vm sh -c 'setsid khoctl record /run/on.json --for 600s > /dev/null 2>&1 < /dev/null & echo $! > /run/recorder'
	# (an emulated machine takes its time to verify the programs)
	# shellcheck disable=SC2016
	vm timeout 60 sh -c 'until ls -l "/proc/$(cat /run/recorder)/fd" 2> /dev/null | grep -q bpf_link; do sleep 0.2; done' || die "it does not begin to record"
	sleep 2
	rate >> "$out/on"
	vm sh -c 'kill "$(cat /run/recorder)"'
done
lab down
# each round with its neighbour: a machine that others use is now fast, now slow
jq -n --slurpfile off "$out/off" --slurpfile on "$out/on" 'def median: sort | .[length / 2 | floor];
	{requests_per_second: {without: ($off | median), with: ($on | median)},
	 with_over_without: ([range($off | length) | $on[.] / $off[.]] | median * 1000 | round / 1000),
	 rounds: ($off | length), without: $off, with: $on}' | tee "$out/report.json"
