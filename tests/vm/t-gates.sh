#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Gates: the running kernel is measured; an upgrade whose incoming kernel does not pass is undone before anything is copied, for limits that no
# kernel keeps; one whose workloads do not get on there is undone in the dark: calls fail, what they start crashes, a health command says so.
# One that passes goes on, and its report says what was measured.
set -euo pipefail
LABNAME=${LAB_NAME:-gates}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
export CPUS=4
trap 'lab down > /dev/null 2>&1 || true; [ -z "$client_pid" ] || kill "$client_pid" 2> /dev/null || true' EXIT

redis_lab
image=$(other_image)

# measured here, by programs in the kernel, of which nothing is left
programs() { vm sh -c 'ls /proc/*/fdinfo/* 2> /dev/null | xargs grep -l "^prog_id" 2> /dev/null | wc -l' | tr -d '\r'; }
before=$(programs)
vm khoctl gates --json > "$out/gates.json" || { cat "$out/gates.json"; die "khoctl gates"; }
jq -r '.gates[] | "      \(.name) \(.value) \(.verdict) \(.what)"' "$out/gates.json"
[ "$(jq -r '.verdict + " " + (.gates[] | select(.name == "wakeup") | .verdict)' "$out/gates.json")" = "pass pass" ] || die "this kernel does not pass"
[ "$(programs)" = "$before" ] || die "a program is left in the kernel"
ok "khoctl gates: $(jq '.gates | length' "$out/gates.json") gates passed on $(vm_release)"
rc=0
vm khoctl gates --gate-limits wakeup=0 > "$out/limit.txt" 2>&1 || rc=$?
[ "$rc" = 8 ] || { cat "$out/limit.txt"; die "a gate that fails: exit code $rc, wanted 8"; }

# undone STEP WHY WORDS...: an upgrade with these options ends in STEP because of WHY, and the machine is as it was
undone() {
	local step=$1 why=$2 rc=0
	shift 2
	vm khoctl upgrade --to "$image" --gates "$@" > "$out/undone.txt" 2>&1 || rc=$?
	[ "$rc" = 3 ] || { tail -n 30 "$out/undone.txt"; die "a gate that fails: exit code $rc, wanted 3"; }
	has undone.txt "rolled back: $step: .*$why"
	[ "$step" != probe ] || ! grep -aq ' ok   precopy' "$out/undone.txt" || die "something was copied"
	client_alive
	machine > "$out/undone"
	diff -u "$out/before" "$out/undone" || die "the machine is not as it was"
	ok "undone: $(tail -n 1 "$out/undone.txt" | tr -d '\r' | cut -c1-150)"
}
vm khoctl check --to "$image" > /dev/null || die "check"
machine > "$out/before"
undone probe 'gate wakeup: ' --gate-limits wakeup=0
undone probe 'gate memory: ' --gate-limits memory=100
# one that may not load the NIC's driver: it would be noticed in the blackout
undone probe 'gate drivers: .*virtio_net' --cmdline module_blacklist=virtio_net

# mood WORD: of the workload that has one, on another kernel than this
LIB=/usr/local/lib/khotest # not below /run: it goes along
mood() { vm sh -c "echo $1 > $LIB/mood"; }
lab put "$top/build/tests/vm/moody" /run/moody
vm sh -ec "mkdir -p $LIB; mv /run/moody $LIB/; chmod 755 $LIB/moody; echo well > $LIB/mood; $LIB/moody /run/moody.pid $LIB/mood
	echo 'pidfile = /run/moody.pid' > /etc/khoctl/workloads.d/moody.conf"
machine > "$out/before"
mood errors
undone restore 'gate errors: .* calls of .*, at last: Bad file descriptor'
mood crash
undone restore 'gate signals: .*: Segmentation fault'
mood well
vm sh -ec "printf '#!/bin/sh\n[ \"\$(uname -r)\" = $(vm_release) ]\n' > $LIB/fit; chmod 755 $LIB/fit; $LIB/fit
	echo 'health-command = $LIB/fit' >> /etc/khoctl/workloads.d/moody.conf"
undone restore "workload moody: health command $LIB/fit: it failed"
vm sed -i '/^health-/d' /etc/khoctl/workloads.d/moody.conf

vm khoctl upgrade --to "$image" --gates > "$out/passed.txt" 2>&1 || { cat "$out/passed.txt"; die "an upgrade whose kernel passes"; }
has passed.txt 'gates: of [0-9]+, [0-9]+ passed, 0 failed, 0 not known'
wait_alone "${image#/boot/vmlinuz-}"
client_alive
vm khoctl report --json > "$out/report.json" || die "khoctl report"
[ "$(jq -r '[.gates[] | select(.gate == "dark") | .name + " " + .verdict] | join(", ")' "$out/report.json")" = "threads pass, signals pass, errors pass" ] ||
	{ jq -c .gates "$out/report.json"; die "the gates of the dark"; }
[ "$(jq -r '[.gates[] | select(.name == "drivers" or .name == "criu") | .name + " " + .verdict] | join(", ")' "$out/report.json")" = "drivers pass, criu pass" ] ||
	{ jq -c .gates "$out/report.json"; die "what the other kernel hands over is not known to be taken"; }
jq -r '.gates[] | select(.name == "drivers" or .name == "criu" or .gate == "dark" or .gate == "quiescent") | "      \(.name) \(.value) \(.what)"' "$out/report.json"
ok "upgraded: $(grep -ao 'gates: of.*' "$out/passed.txt" | tr -d '\r'), in $(jq '[.phases[] | select(.name == "gates")][0].us' "$out/report.json") us"
client_served
echo "$passed passed, 0 failed"
