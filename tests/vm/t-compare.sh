#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# khoctl record and compare with redis under one client: a stock kernel is no worse than itself; one whose network is far, whose CPU is not to be had,
# is, by the metric that it must be, and nothing is left in the kernel. Then an upgrade with --regression to a kernel where others want redis's
# CPU: the machine goes back by itself, with the same client connected.
set -euo pipefail
LABNAME=${LAB_NAME:-compare}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
export CPUS=4
trap 'lab down > /dev/null 2>&1 || true; [ -z "$client_pid" ] || kill "$client_pid" 2> /dev/null || true' EXIT

programs() { vm sh -c 'ls /proc/*/fdinfo/* 2> /dev/null | xargs grep -l "^prog_id" 2> /dev/null | wc -l' | tr -d '\r'; }
record() { vm khoctl record "/run/$1.json" --for 8s || die "record $1"; }
# compared CODE NAME A B OPTION...: khoctl compare ends with that code; its JSON is in NAME.json
compared() {
	local want=$1 name=$2 a=$3 b=$4 rc=0
	shift 4
	vm khoctl compare "/run/$a.json" "/run/$b.json" "$@" > "$out/$name.txt" || rc=$?
	vm khoctl compare "/run/$a.json" "/run/$b.json" --json "$@" > "$out/$name.json" || true
	[ "$rc" = "$want" ] || { cat "$out/$name.txt"; die "compare $a $b: exit code $rc, wanted $want"; }
}
failed() { jq -r '[.gates[] | select(.verdict == "fail") | .name] | join(" ")' "$out/$1.json"; }
hogs() { # processes that never sleep, on redis's CPU
	vm sh -c 'taskset -acp 1 "$(cat /run/redis.pid)" > /dev/null; : > /run/hogs
		for i in 1 2 3 4; do setsid taskset -c 1 sh -c "while :; do :; done" > /dev/null 2>&1 < /dev/null & echo $! >> /run/hogs; done'
}
hogs_end() { vm sh -c 'kill $(cat /run/hogs); taskset -acp 0-3 "$(cat /run/redis.pid)" > /dev/null'; }

redis_lab
from=$(vm_release) image=$(other_image)
before=$(programs)

say "the same twice"
sleep 2
record a
[ "$(programs)" = "$before" ] || die "a program is left in the kernel"
[ "$(vm stat -c %a /run/a.json | tr -d '\r')" = 600 ] || die "others may read it"
record b
compared 0 same a b
cat "$out/same.txt"
[ "$(jq -r '[.gates[] | select(.verdict == "pass") | .name] | contains(["read", "write", "poll", "runqueue", "rtt", "cpu", "switches", "restarts"])' "$out/same.json")" = true ] ||
	die "not all was compared"
ok "$from is no worse than $from: $(jq '.gates | length' "$out/same.json") metrics, programs are gone"

say "a network that is far"
vm tc qdisc add dev eth0 root netem delay 60ms
sleep 2
record far
vm tc qdisc del dev eth0 root
compared 8 far a far
has far.txt '^gate rtt.*: round trip of TCP'
case " $(failed far) " in *" runqueue "* | *" read "* | *" write "*) cat "$out/far.txt"; die "not only the network: $(failed far)" ;; esac
ok "$(grep -a '^gate rtt' "$out/far.txt" | tr -d '\r' | cut -c1-170)"

say "a CPU that is not to be had"
hogs
record busy
hogs_end
compared 8 busy a busy
case " $(failed busy) " in *" runqueue "*) ;; *) cat "$out/busy.txt"; die "not by runqueue: $(failed busy)" ;; esac
ok "$(grep -a '^runqueue' "$out/busy.txt" | tr -d '\r')"
vm khoctl compare /run/a.json /run/busy.json --svg /run/busy.svg > /dev/null || true
lab get /run/busy.svg "$out/busy.svg"
grep -q 'class="fail">fail<' "$out/busy.svg" || die "the picture does not show it"

say "$from -> ${image#/boot/vmlinuz-}, where redis's CPU is not to be had"
vm khoctl upgrade --to "$image" --regression 8s --rollback-on-failure 2s > "$out/up.txt" 2>&1 || { tail -n 30 "$out/up.txt"; die "upgrade"; }
has up.txt 'regression: redis recorded for 8\.[0-9] s'
for i in $(seq 90); do
	[ "$(vm_release 2> /dev/null)" = "$from" ] || break
	[ "$i" != 90 ] || die "${image#/boot/vmlinuz-} does not come"
	sleep 1
done
hogs
for i in $(seq 240); do
	[ "$(vm_release 2> /dev/null)" = "$from" ] && (wait_alone "$from") 2> /dev/null && break
	[ "$i" != 240 ] || { vm dmesg | tail -n 30; die "it does not go back"; }
	sleep 1
done
client_alive
vm khoctl log > "$out/log.txt"
has log.txt 'khoctl: watch: gate ([a-z]+ \(also .*)?runqueue.*; going back to the kernel before'
ok "back on $from by itself: $(grep -ao 'khoctl: watch: gate .*' "$out/log.txt" | tail -n 1 | tr -d '\r' | cut -c1-170)"

say "and here it is as before"
vm khoctl watch --before /var/lib/khoctl/regression-before.json --for 1s > "$out/watch.txt" || { cat "$out/watch.txt"; die "watch"; }
has watch.txt '^the workloads run no worse than before$'
vm khoctl report --json > "$out/report.json"
[ "$(jq -r .regression.verdict "$out/report.json")" = pass ] || die "the report: $(jq -c .regression "$out/report.json")"
ok "khoctl watch --before: no worse; the report has it"

say "a kernel that does not let programs read it"
vm cp /var/lib/khoctl/regression-before.json /run/a.json # /run is new
vm sh -c 'mount -t securityfs none /sys/kernel/security 2> /dev/null; echo confidentiality > /sys/kernel/security/lockdown' || die "lockdown"
record locked
compared 9 locked a locked
has locked.txt '^gate [a-z]+: not known: after: '
compared 0 allowed a locked --allow-unknown
ok "locked down: $(grep -a '^gate' "$out/locked.txt" | tr -d '\r' | cut -c1-170)"
[ "$(programs)" = "$before" ] || die "a program is left in the kernel"
client_served
echo "$passed passed, 0 failed"
