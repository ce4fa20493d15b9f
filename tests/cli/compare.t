#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# compare and record: recordings of a real redis (tests/unit/regress.c says which), what is wrong with a file, with a command line.
# shellcheck source=tests/cli/tap.sh
. "$(dirname "$0")/tap.sh"
r=$top/tests/sysroots/recordings
compare() { # CODE NAME ARGUMENT...
	local code=$1 name=$2
	shift 2
	exits "$code" "$name" "$khoctl" compare "$@"
}
compare 0 "the same again" "$r/before.json" "$r/after.json"
same "$top/tests/cli/expected/compare.txt" "the table as recorded"
says '^no worse$' "the same again: no worse"
compare 8 "a busy CPU" "$r/before.json" "$r/busy.json"
says '^runqueue .* fail$' "a busy CPU: the metric"
says '^gate runqueue: wait for a CPU .*: [0-9]+ %, and at most 300 % is allowed: median ' "a busy CPU: the message"
exits 1 "a busy CPU: no other one" grep -qE '^(read|write|poll|block|rtt|cpu|switches) .*fail$' "$tmp/out"
compare 0 "a policy that allows it" "$r/before.json" "$r/busy.json" --gate-limits runqueue=100000
compare 1 "a limit of no gate" "$r/before.json" "$r/busy.json" --gate-limits reed=1
says "there is no such gate" "a limit of no gate is named"
compare 8 "JSON" "$r/before.json" "$r/busy.json" --json
cp "$tmp/out" "$tmp/json"
exits 0 "JSON: verdict, exit code, metrics, gates" jq -e '.verdict == "fail" and .exit == 8 and (.metrics | length) == 14 and .a.workloads == "redis" and
	([.gates[] | select(.verdict == "fail") | .name] == ["runqueue"]) and ([.metrics[] | select(.verdict == "fail") | .metric] == ["runqueue"])' "$tmp/json"
compare 8 "a picture" "$r/before.json" "$r/busy.json" --svg "$tmp/x.svg"
exits 1 "a picture: nothing from elsewhere" grep -E 'href|url\(|<script|<image' "$tmp/x.svg"
compare 2 "a picture where none can be" "$r/before.json" "$r/busy.json" --svg "$tmp/no/x.svg"

# what was not known on one side is undecided, unless allowed
jq '.unknown.block = "the kernel refuses program kho_block_issue: why"' "$r/before.json" > "$tmp/half.json"
compare 9 "unknown" "$tmp/half.json" "$r/after.json"
says '^block: before: the kernel refuses program kho_block_issue: why$' "unknown: the reason"
compare 0 "unknown, allowed" "$tmp/half.json" "$r/after.json" --allow-unknown

compare 2 "no file" "$r/before.json" "$tmp/none.json"
says 'none.json' "no file is named"
echo '{"format": 1}' > "$tmp/bad.json"
compare 2 "no recording" "$tmp/bad.json" "$r/after.json"
says 'bad.json: recording: kernel: want a text' "no recording: what is wrong"
head -c 1000 "$r/before.json" > "$tmp/cut.json"
compare 2 "cut off" "$tmp/cut.json" "$r/after.json" --json
says '"error":".*cut.json: not a JSON object' "cut off: JSON says it"
compare 1 "one recording" "$r/before.json"
exits 1 "record into no file" "$khoctl" record
exits 1 "record for no time" "$khoctl" record "$tmp/x" --for 5
says "want a time from 1s to 3600s" "record: what it wants"
exits 1 "record for too short a time" "$khoctl" record "$tmp/x" --for 10ms
if [ "$(id -u)" = 0 ]; then
	exits 2 "record a workload that is none" "$khoctl" record "$tmp/x" --for 1s --workload no-such
	says "no workload 'no-such' is declared" "it is named"
	exits 1 "and nothing is written" test -e "$tmp/x"
fi
finish
