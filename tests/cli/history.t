#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The chain of kernels: what the history has, and at its end what the journal has; damaged input is said and left out.
# shellcheck source=tests/cli/tap.sh
. "$(dirname "$0")/tap.sh"
root=$tmp/root
cp -R "$top/tests/sysroots/host-2cpu" "$root"
state=$root/var/lib/khoctl
mkdir -p "$state" "$root/run/khoctl"

exits 0 "none" "$khoctl" history --sysroot "$root"
says '^no upgrade has been run$' "none: said"
exits 0 "none --json" "$khoctl" history --sysroot "$root" --json
says '"upgrades":\[' "none --json: an empty list"
says '"kexec_metadata":null' "none --json: this kernel has no record of its own"

begin() { # TIME FROM TO
	rec "{\"rec\":\"begin\",\"from\":\"$2\",\"to\":\"$3\",\"generation\":2,\"engine\":\"kexec\",\"jumps\":true,\"time\":$1}"
}
line() { # TIME FROM TO OUTCOME MESSAGE BLACKOUT
	echo "{\"time\":$1,\"from\":\"$2\",\"to\":\"$3\",\"generation\":2,\"engine\":\"beside\",\"jumps\":false,\"outcome\":\"$4\",\"msg\":\"$5\",\"back\":null,\"blackout_us\":$6}"
}
{
	echo '{"from":"6.1.9","to":"6.12.1","generation":2,"blackout_us":900000,"outcome":"upgraded","phases":[]}'
	line 1790000000 6.12.1 7.3.4 "rolled back" "step shift: injected" null
	line 1790003600 6.12.1 7.3.4 upgraded "" 1560149
} > "$state/history.jsonl"
{
	printf KHOJRNL1
	begin 1790007200 7.3.4 7.4.0
	rec '{"rec":"back","why":"retrieve proc: no such file"}'
	rec '{"rec":"blackout","begin_us":1000,"end_us":9001000}'
	rec '{"rec":"end","outcome":"rolled back","msg":"7.4.0 could not go on"}'
} > "$state/journal"
exits 0 "a chain" "$khoctl" history --sysroot "$root"
same "$top/tests/cli/expected/history.txt" "a chain as recorded"
exits 0 "a chain in JSON" "$khoctl" history --sysroot "$root" --json
same_json "$top/tests/cli/expected/history.json" "a chain in JSON as recorded"

# the last one is in both when the next one got no journal
line 1790010800 7.3.4 7.4.0 upgraded "" 1500000 >> "$state/history.jsonl"
{
	printf KHOJRNL1
	rec '{"rec":"begin","from":"7.3.4","to":"7.4.0","generation":2,"engine":"beside","jumps":false,"time":1790010800}'
	rec '{"rec":"blackout","begin_us":1000,"end_us":1501000}'
	rec '{"rec":"end","outcome":"upgraded","msg":""}'
} > "$state/journal"
exits 0 "the last one in both" "$khoctl" history --sysroot "$root"
result "$([ "$(grep -c '7\.4\.0' "$tmp/out")" = 1 ]; echo $?)" "the last one in both: told once"

# cut by a reset; then one that died in this boot
{ printf KHOJRNL1; begin 1790014400 7.4.0 7.4.1; } > "$state/journal"
exits 0 "cut" "$khoctl" history --sysroot "$root"
says '7\.4\.0 +7\.4\.1 +kexec +interrupted +- +-$' "cut: said"
rec '{"rec":"reset","step":"freeze","signed":false,"lost":"it was not committed"}' >> "$state/journal"
exits 0 "cut, and found at the next start" "$khoctl" history --sysroot "$root"
says 'interrupted +- +it was not committed$' "cut, and found at the next start: what it cost"
{ printf KHOJRNL1; begin 1790014400 7.4.0 7.4.1; rec '{"rec":"signed","at_us":3}'; } > "$root/run/khoctl/journal"
cp "$root/run/khoctl/journal" "$state/journal"
exits 0 "committed, and not at its end" "$khoctl" history --sysroot "$root"
says '7\.4\.0 +7\.4\.1 +kexec +committed ' "committed, and not at its end: said"
rm "$root/run/khoctl/journal" "$state/journal"

# damaged: the good lines count
{
	echo nonsense
	line 1790000000 6.12.1 7.3.4 upgraded "" 1560149
	echo '{"from":"6.12.1","to":7,"outcome":"upgraded"}'
	echo '{"from":"6.12\u001b[1m","to":"7.3.4","outcome":"upgraded"}'
	echo '{"from":"6.12.2","to":"7.3.4","outcome":"upgraded","time":"noon","generation":[],"engine":{},"msg":7,"back":[1],"blackout_us":"long","jumps":"yes"}'
	printf '{"from":"6.12'
} > "$state/history.jsonl"
cp "$state/history.jsonl" "$tmp/before"
exits 0 "damaged lines" "$khoctl" history --sysroot "$root"
says '^note: 4 lines of .*/var/lib/khoctl/history.jsonl are damaged, and left out$' "damaged lines: said"
says '^2026-09-21 .* 7\.3\.4 +beside +upgraded +1\.56 s ' "damaged lines: the good one is told"
says '^- +0 +6\.12\.2 +7\.3\.4 +- +upgraded ' "damaged lines: members of other types are left out"
exits 0 "damaged lines in JSON" "$khoctl" history --sysroot "$root" --json
says 'are damaged, and left out' "damaged lines in JSON: said"
exits 0 "damaged lines: nothing was changed" cmp "$tmp/before" "$state/history.jsonl"
truncate -s 16M "$state/history.jsonl"
exits 0 "too long" "$khoctl" history --sysroot "$root"
says '^note: the upgrades before the last one are not known: .*history\.jsonl' "too long: said"
exits 1 "an argument" "$khoctl" history 3
finish
