#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# khoctl upgrade --max-blackout: what is not known holds; a workload that writes faster than it is copied is refused with the blackout that was
# predicted, and the machine is as before; when it pauses while that is waited for, the upgrade goes on. And both kernels tell what
# processes have written, by each way of asking.
set -euo pipefail
LABNAME=${LAB_NAME:-converge}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
export CPUS=4
trap 'lab down > /dev/null 2>&1 || true; [ -z "$client_pid" ] || kill "$client_pid" 2> /dev/null || true' EXIT
QUIET=/usr/local/lib/khotest/quiet # not below /run: it goes along

# counted: the unit test of counting, on the kernel that runs
counted() {
	vm env KHOCTL_MUST_DIRTY=1 LD_LIBRARY_PATH=/usr/local/lib/khotest /usr/local/lib/khotest/dirty > "$out/dirty.txt" 2>&1 || { cat "$out/dirty.txt"; die "what processes write is not counted"; }
	has dirty.txt 'PAGEMAP_SCAN: as written'
	has dirty.txt 'soft-dirty bits: as written'
	ok "$(vm_release) tells what processes write, by PAGEMAP_SCAN and by soft-dirty bits"
}
# upgraded RELEASE TEXT: predicted and real, out of the report
upgraded() {
	wait_alone "$1"
	client_alive
	vm khoctl report --json > "$out/report.json"
	jq -c '.converging + {blackout_us, first: .predicted_blackout_us}' "$out/report.json"
	jq -e '.converging | .how == "PAGEMAP_SCAN" and .predicted_us > 0 and .dirty_bytes > 0 and .copy_us > 0' "$out/report.json" > /dev/null || die "the report does not say what was predicted"
	# emulated machines are as good as this (docs/limits.md, "Predicted blackout")
	jq -e '.blackout_us / .converging.predicted_us | . > 0.2 and . < 8' "$out/report.json" > /dev/null || die "nothing like what was predicted"
	ok "$2: $(jq -r '"predicted \(.converging.predicted_us) us just before the freeze, it was \(.blackout_us) us"' "$out/report.json")"
}

make --no-print-directory -s -C "$top" build/tests/unit/dirty > /dev/null || die "build/tests/unit/dirty" # make all builds no unit tests
redis_lab
for f in "$top/build/tests/vm/churn" "$top/build/tests/unit/dirty" /usr/lib/x86_64-linux-gnu/libcmocka.so.0; do
	lab put "$f" "/run/${f##*/}"
done
vm sh -ec 'mkdir -p /usr/local/lib/khotest; mv /run/churn /run/dirty /run/libcmocka.so.0 /usr/local/lib/khotest/; chmod 755 /usr/local/lib/khotest/*
	echo > '$QUIET'; /usr/local/lib/khotest/churn /run/churn.pid '$QUIET' 96; echo "pidfile = /run/churn.pid" > /etc/khoctl/workloads.d/churn.conf
	echo "max-blackout-wait = 20s" >> /etc/khoctl/khoctl.conf'
counted

say "a machine without an upgrade on record"
image=$(other_image)
rc=0
vm khoctl upgrade --to "$image" --max-blackout 600s > "$out/unknown.txt" 2>&1 || rc=$?
[ "$rc" = 2 ] || { tail -n 30 "$out/unknown.txt"; die "what is not known: exit code $rc, wanted 2"; }
has unknown.txt 'the blackout is not known: no upgrade of this kind is on record here; the estimate is'
ok "not known: $(tail -n 1 "$out/unknown.txt" | tr -d '\r' | cut -c1-150)"
vm khoctl upgrade --to "$image" --max-blackout 600s --allow-unknown > "$out/allowed.txt" 2>&1 || { cat "$out/allowed.txt"; upgrade_died 1 allowed; }
has allowed.txt 'blackout would be about .* now, allowed 600.00 s: .* to copy, .*/s written \(by PAGEMAP_SCAN\)'
upgraded "${image#/boot/vmlinuz-}" "unknown allowed"
counted

say "a writer that never converges"
image=$(other_image)
vm rm "$QUIET"
vm khoctl check --to "$image" --json > "$out/check.json" || die "check"
# room for what is counted a little differently then, not for 96 MiB: copying a MiB takes 5 ms and more here
limit=$(jq '.predicted_blackout_us * 1.04 / 1000 + 100 | floor' "$out/check.json")
rc=0
vm khoctl check --to "$image" --max-blackout 1ms > "$out/refused.txt" || rc=$?
[ "$rc" = 2 ] || die "a limit that nothing keeps: exit code $rc, wanted 2"
has refused.txt '^no +blackout +max-blackout +the blackout would be about [0-9.]+ m?s at the least, and 1.0 ms is allowed \(from the last upgrade\)'
ok "refused by check: $(grep -a '^no ' "$out/refused.txt" | tr -d '\r' | tr -s ' ' | cut -c1-150)"
machine > "$out/before"
rc=0
vm khoctl upgrade --to "$image" --max-blackout "${limit}ms" > "$out/never.txt" 2>&1 || rc=$?
grep -a 'round\|blackout would' "$out/never.txt" || true
[ "$rc" = 3 ] || { tail -n 30 "$out/never.txt"; die "a writer that never converges: exit code $rc, wanted 3"; }
has never.txt "rolled back: precopy: gate blackout: the blackout as it would be now, predicted: [0-9]+ us, and at most ${limit}000 us is allowed: of it .* by churn"
! grep -aq ' ok   freeze' "$out/never.txt" || die "something was frozen"
client_alive
machine > "$out/undone"
diff -u "$out/before" "$out/undone" || die "the machine is not as it was"
vm khoctl report --json > "$out/never.json"
jq -e --argjson l "${limit}000" '.converging | .predicted_us > $l and .limit_us == $l' "$out/never.json" > /dev/null || die "the report does not say why"
ok "undone: $(tail -n 1 "$out/never.txt" | tr -d '\r' | cut -c1-300)"

# with the other gates, too: what is measured in the blackout (quiescent) is beside its lanes
say "it pauses while that is waited for"
(
	until grep -aq 'blackout would be' "$out/pauses.txt" 2> /dev/null; do sleep 0.5; done
	vm sh -c "echo > $QUIET"
) &
vm khoctl upgrade --to "$image" --max-blackout "${limit}ms" --gates > "$out/pauses.txt" 2>&1 || { tail -n 40 "$out/pauses.txt"; upgrade_died 2 pauses; }
grep -a 'round\|blackout' "$out/pauses.txt" || true
[ "$(grep -ac 'blackout would be' "$out/pauses.txt")" -ge 2 ] || die "nothing was waited for"
upgraded "${image#/boot/vmlinuz-}" "a pause was waited for"
has pauses.txt 'gates: of 3, 3 passed, 0 failed, 0 not known'
vm khoctl image show --json /var/lib/khoctl/journal > "$out/journal.json"
quiescent=$(jq -c '[.. | objects | select(.gate? == "quiescent") | {(.name): .value}] | add' "$out/journal.json")
[ "$(jq -r '"\(.running) \(.requests)"' <<< "$quiescent")" = "0 0" ] || die "quiescent: $quiescent"
ok "quiescent: $quiescent, in $(jq '[.phases[] | select(.name == "quiescent")][0].us' "$out/report.json") us beside a blackout of $(jq .blackout_us "$out/report.json") us"
jq -e --argjson l "${limit}000" '.converging | .rounds >= 1 and .predicted_us <= $l' "$out/report.json" > /dev/null || die "the report does not say what was waited for"
client_served
echo "$passed passed, 0 failed"
