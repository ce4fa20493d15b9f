#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Canaries with stock kernels: the other kernel passes; one that is slower (its own slab debugging), one that reports a WARN, one that panics, fail for
# that; one that is stopped, or whose khoctl is killed, is taken back. A copy of redis (a shadow) is well there, and one that is not fails it. Each time the machine is as before, and
# the client of redis none the wiser.
# SAME=N: the running kernel beside itself passes N times (1). HOST=all: the same, briefly, on the Debian machine, whose root is on a disk: khoctl's own initramfs, and who stands by when khoctl is killed.
set -euo pipefail
LABNAME=${LAB_NAME:-canary}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
export CPUS=4
trap 'lab down > /dev/null 2>&1 || true; [ -z "$client_pid" ] || kill "$client_pid" 2> /dev/null || true' EXIT

redis_lab
image=$(other_image)
release=${image#/boot/vmlinuz-}
for m in hang warn leak; do lab put "$top/build/module/$release/khoctl-$m.ko" "/lib/modules/$release/updates/khoctl-$m.ko"; done
vm khoctl check --to "$image" > /dev/null || die "check" # what it loads stays loaded
machine > "$out/before"

as_before() {
	client_alive
	machine > "$out/after"
	diff -u "$out/before" "$out/after" || die "$1: the machine is not as it was"
}
# decided NAME CODE COMMAND...: its exit code into $rc, what it printed into NAME.txt; "undecided" (9), which a busy machine earns, is asked again
decided() {
	local name=$1 code=$2 i
	shift 2
	for i in 1 2 3 4; do
		rc=0
		vm "$@" > "$out/$name.txt" 2> "$out/$name.err" || rc=$?
		[ "$rc" = 9 ] && [ "$code" != 9 ] && [ "$i" != 4 ] || return 0
		echo "      $name: undecided, again"
		as_before "$name"
	done
}
# canary NAME CODE PATTERN OPTION...: it ends with this code, says this, and all is as before. FAULT: one that is to strike.
canary() {
	local name=$1 code=$2 pattern=$3 rc=0
	shift 3
	decided "$name" "$code" env ${FAULT:+"KHOCTL_FAULT=$FAULT"} khoctl canary --kernel "$image" "$@"
	cat "$out/$name.err" >> "$out/$name.txt"
	[ "$rc" = "$code" ] || { cat "$out/$name.txt"; upgrade_died "$name" "$rc"; }
	has "$name.txt" "$pattern"
	[ -z "${FAULT:-}" ] || has "$name.txt" 'fault struck'
	as_before "$name"
	ok "$name: $(grep -aE -- "$pattern" "$out/$name.txt" | tail -n 1 | tr -d '\r' | cut -c1-180)"
}

# --- passes, for a person and for CI ---
canary passes 0 '^pass$' --for 20s --allow-unknown
grep -aE '^(LOAD|sched|memory|vfs|net|crypto|gate)' "$out/passes.txt"
rc=0
decided ci 0 khoctl canary --kernel "$image" --for 15s --json --junit /run/canary.xml --cpus 2
mv "$out/ci.txt" "$out/ci.json"
[ "$rc" = 0 ] || { cat "$out/ci.json" "$out/ci.err"; die "for CI: exit code $rc"; }
jq -e --arg r "$release" '.verdict == "pass" and .exit == 0 and .kernel == $r and .cpus == 2 and (.load | length) == 5
	and all(.load[]; .verdict == "pass" and .canary.operations > 50 and .running.operations > 50 and .canary.errors == 0)
	and (.ready.after | map(.verdict) | unique) == ["pass"]' "$out/ci.json" > /dev/null || { cat "$out/ci.json"; die "what CI is told"; }
jq -r '.load[] | "      \(.name): median \(.median_ratio) times, p99 \(.p99_ratio) times, delta \(.delta), worse in \(.rounds_worse) of \(.rounds)"' "$out/ci.json"
lab get /run/canary.xml "$out/canary.xml"
vm rm /run/canary.xml
python3 - "$out/canary.xml" <<-'PY' || die "JUnit"
	import sys, xml.etree.ElementTree as e
	s = e.parse(sys.argv[1]).getroot().find('testsuite')
	cases = s.findall('testcase')
	assert len(cases) == int(s.get('tests')) > 20 and s.get('failures') == '0', s.attrib
	assert not [c for c in cases if len(c)], 'some are not passed'
	PY
as_before ci
ok "for CI, on two CPUs: $(jq -c '[.load[].name]' "$out/ci.json") pass; JUnit: $(grep -c '<testcase' "$out/canary.xml") tests"
# a kernel against itself
other=$image
image=/boot/vmlinuz-$(vm_release)
for i in $(seq "${SAME:-1}"); do canary "same-$i" 0 '^pass$' --for 9s; done
image=$other
canary command 0 '^pass$' --load '/bin/cat /etc/hostname' --for 6s --allow-unknown

# --- fails, each for a real reason ---
# the kernel's own debugging of each allocation: all that makes and drops objects takes longer
canary slower 8 '^fail: vfs: slower than on this kernel: median' --load vfs --for 10s --cmdline slub_debug=FZPU
FAULT=load:peer-warn canary warn 8 '^fail: after the load: gate warn.*: .*khoctl-warn' --load sched --for 3s --cmdline khoctl.fault=1
[ "$(vm khoctl log | grep -ac 'khoctl-warn: asked for')" -ge 1 ] || die "its log is not kept"
FAULT=load:peer-leak canary leak 8 '^fail: after the load: gate leak: .* KiB, and at most 32768 KiB is allowed' --load sched --for 9s --cmdline khoctl.fault=1
FAULT=load:peer-panic canary panic 8 '^fail: load: the incoming kernel is lost: .*panicked' --load sched --for 3s --cmdline khoctl.fault=1
FAULT=load:peer-hang canary hang 8 '^fail: load: the incoming kernel is lost: ' --load sched --for 3s --cmdline khoctl.fault=1
# a command that sees on which kernel it is
canary wrong 8 '^fail: command: .* operations failed on the canary' --load '/bin/grep -qv khoctl.try /proc/cmdline' --for 6s --cmdline khoctl.try

# --- a copy of redis, which goes on ---
vm khoctl canary --kernel "$image" --shadow redis --dry-run > "$out/dry.txt" 2>&1 || { cat "$out/dry.txt"; die "a shadow that is only planned"; }
has dry.txt 'shadow +redis +stands still while it is copied'
as_before dry
rc=0
decided shadow 0 khoctl canary --kernel "$image" --load sched --for 6s --allow-unknown --shadow redis --json --junit /run/shadow.xml
mv "$out/shadow.txt" "$out/shadow.json"
[ "$rc" = 0 ] || { cat "$out/shadow.json" "$out/shadow.err"; die "a shadow: exit code $rc"; }
jq -e '.verdict == "pass" and (.shadow | length) == 1 and (.shadow[0] | .name == "redis" and .verdict == "pass" and .restored and .well and .looks >= 2 and .frozen_us > 0
	and .health == "127.0.0.1:6379" and (.gates | map(.name)) == ["threads", "signals"] and all(.gates[]; .verdict == "pass"))
	and (.ready.end | length) > 10 and all(.ready.end[]; .verdict != "fail")' "$out/shadow.json" > /dev/null || { cat "$out/shadow.json"; die "what is told of a shadow"; }
lab get /run/shadow.xml "$out/shadow.xml"
vm rm /run/shadow.xml
grep -q '<testcase classname="shadow" name="redis"/>' "$out/shadow.xml" || die "JUnit of a shadow: $(grep shadow "$out/shadow.xml")"
as_before shadow
ok "shadow: $(jq -r '.shadow[0].msg' "$out/shadow.json")"
# what its client asks meanwhile, on a connection that was there before, is asked of the copy; times on a shared host are told, and fail only when they are far worse
rc=0
decided replay 0 khoctl canary --kernel "$image" --load sched --for 6s --allow-unknown --shadow redis --replay --slower 400 --json --junit /run/replay.xml
mv "$out/replay.txt" "$out/replay.json"
[ "$rc" = 0 ] || { cat "$out/replay.json" "$out/replay.err"; die "a replay: exit code $rc"; }
jq -e '.verdict == "pass" and (.shadow[0] | .verdict == "pass" and .well and (.replay | .verdict == "pass" and .recorded_connections >= 1 and .recorded_us >= 6000000
	and .requests >= 50 and .replies == .requests and .requests == .recorded_requests and .refused + .cut + .silent + .strange + .late + .tls_connections == 0
	and .canary.operations == .replies and .running.operations == .recorded_requests))' "$out/replay.json" > /dev/null || { cat "$out/replay.json"; die "what is told of a replay"; }
lab get /run/replay.xml "$out/replay.xml"
vm rm /run/replay.xml
grep -q '<testcase classname="shadow.replay" name="redis"/>' "$out/replay.xml" || die "JUnit of a replay: $(grep replay "$out/replay.xml")"
as_before replay
ok "replay: $(jq -r '.shadow[0].replay | "\(.msg); median here \(.running.median_ns) ns, there \(.canary.median_ns) ns"' "$out/replay.json")"
# whom nobody asks is no measure
vm sh -c "printf '%s\n' 'pidfile = /run/quiet.pid' 'health-tcp = 127.0.0.1:6380' > /etc/khoctl/workloads.d/quiet.conf
	setsid redis-server --port 6380 --save '' --daemonize yes --pidfile /run/quiet.pid --dir /run; sleep 2; redis-cli -p 6380 ping" > "$out/quiet.start" || die "a redis that nobody asks"
rc=0
vm khoctl canary --kernel "$image" --load sched --for 3s --shadow quiet --replay > "$out/quiet.txt" 2>&1 || rc=$?
[ "$rc" = 9 ] || { cat "$out/quiet.txt"; upgrade_died quiet "$rc"; }
has quiet.txt '^quiet .* pass +restored in .* and well'
has quiet.txt '^quiet +0 +0 +0 .*undecided +nobody asked it for anything over TCP in '
vm sh -c 'redis-cli -p 6380 shutdown nosave; rm -f /etc/khoctl/workloads.d/quiet.conf /run/quiet.pid; sleep 1'
as_before quiet
ok "replay of a workload that nobody asks: undecided"
# by a command that asks the copy; and says no on a kernel that was started to be refused
vm sh -ec 'mkdir -p /usr/local/sbin; printf "%s\n" "#!/bin/sh" "! grep -q khoctl.try /proc/cmdline && [ \"\$(redis-cli ping)\" = PONG ]" > /usr/local/sbin/shadow-health
	chmod 755 /usr/local/sbin/shadow-health; /usr/local/sbin/shadow-health
	printf "%s\n" "pidfile = /run/redis.pid" "health-command = /usr/local/sbin/shadow-health" "health-timeout = 10s" > /etc/khoctl/workloads.d/asked.conf' || die "a health command"
canary asked 0 '^asked .* pass +restored in .* and well' --load sched --for 6s --allow-unknown --shadow asked
canary sick 8 '^fail: shadow asked: verify proc: .*health command .*: it failed' --load sched --for 6s --allow-unknown --shadow asked --cmdline khoctl.try
# what fails on this kernel says nothing of the other one
FAULT=proc.drain:fail canary uncopied 9 '^redis .* undecided +not copied: .*injected failure' --load sched --for 3s --shadow redis
rc=0
vm env KHOCTL_FAULT=proc.drain:kill khoctl canary --kernel "$image" --load sched --for 3s --shadow redis > "$out/frozen.txt" 2>&1 || rc=$?
[ "$rc" = 4 ] || { cat "$out/frozen.txt"; die "killed while redis stands still: exit code $rc"; }
vm khoctl rollback > "$out/rollback.txt" 2>&1 || { cat "$out/rollback.txt"; die "rollback"; }
[[ $(vm timeout 20 redis-cli ping) == PONG* ]] || die "redis does not go on: $(vm sh -c 'ps -o pid,stat,comm -p "$(cat /run/redis.pid)"' | tail -n 1)"
as_before frozen
ok "khoctl killed while redis stands still: khoctl rollback lets it go on"
# a file that is too large is named, and nothing is begun
vm sh -c 'truncate -s 100M /data/big; printf "%s\n" "pidfile = /run/big.pid" > /etc/khoctl/workloads.d/big.conf
	setsid sh -c "echo \$\$ > /run/big.pid; exec sleep 9999" < /data/big > /dev/null 2>&1 & sleep 1'
rc=0
vm khoctl canary --kernel "$image" --shadow big > "$out/big.txt" 2>&1 || rc=$?
[ "$rc" = 2 ] || { cat "$out/big.txt"; die "a file that is too large: exit code $rc"; }
has big.txt 'refused: files /data/big: .*\(100 MiB\)'
vm sh -c 'kill "$(cat /run/big.pid)"; rm -f /run/big.pid /data/big /etc/khoctl/workloads.d/big.conf /etc/khoctl/workloads.d/asked.conf /usr/local/sbin/shadow-health; sleep 1'
as_before big
ok "a shadow with a file that is too large: refused"

# --- stopped, killed, refused ---
vm sh -c 'khoctl canary --kernel '"$image"' --for 10m > /run/stopped.txt 2>&1 & p=$!
	i=0; until khoctl status | grep -q "step load"; do sleep 0.5; i=$((i + 1)); [ $i -lt 240 ] || exit 99; done
	khoctl upgrade --to '"$image"' --yes > /dev/null 2>&1; echo "upgrade: $?"
	kill -INT $p; wait $p; echo "code $?"; cat /run/stopped.txt; rm /run/stopped.txt' > "$out/stopped.txt" 2>&1 || die "Ctrl-C"
has stopped.txt '^upgrade: 6'
has stopped.txt '^code 9'
has stopped.txt '^undecided: load: stopped by SIGINT'
as_before stopped
ok "Ctrl-C in the load: undecided, all is as before; no upgrade could begin meanwhile"
rc=0
vm env KHOCTL_FAULT=load:kill khoctl canary --kernel "$image" --load sched --for 3s > "$out/killed.txt" 2>&1 || rc=$?
[ "$rc" = 4 ] || { cat "$out/killed.txt"; die "killed: exit code $rc"; }
[[ $(vm khoctl status) == *INTERRUPTED* ]] || die "status after a kill: $(vm khoctl status)"
rc=0
vm khoctl canary --kernel "$image" --load sched --for 3s > "$out/busy.txt" 2>&1 || rc=$?
[ "$rc" = 6 ] || { cat "$out/busy.txt"; die "a canary after one that was killed: exit code $rc"; }
vm khoctl rollback > "$out/rollback.txt" 2>&1 || { cat "$out/rollback.txt"; die "rollback"; }
as_before killed
ok "khoctl killed in the load: khoctl rollback takes it back"
canary refused 2 'refused: cpus canary: 3 CPUs for the canary leave 1' --cpus 3

client_stop
client_whole
ok "one connection through all of it, $(jq .acked "$out/client.json") replies in order, the longest wait $(jq .max_gap_us "$out/client.json") us"

# --- a Debian machine, root on its disk ---
# A copy of a unit whose program, libraries and files are on the disk, which the canary does not have. (Debian's redis-server.service makes a mount namespace.)
host_shadow() {
	vm sh -ec 'mkdir -p /var/lib/plain; printf "[Service]\nExecStart=/usr/bin/redis-server --port 6390 --dir /var/lib/plain --appendonly yes --logfile /var/log/plain.log\n" > /etc/systemd/system/plain.service
		printf "%s\n" "unit = plain.service" "health-tcp = 127.0.0.1:6390" "health-send = PING\\r\\n" "health-expect = +PONG" > /etc/khoctl/workloads.d/plain.conf
		systemctl daemon-reload; systemctl start plain; sleep 3; redis-cli -p 6390 set key value' || die "a redis of its own"
	vm khoctl check --to "$image" > /dev/null || die "check" # what it loads for a workload stays loaded
	machine > "$out/before"
	canary host-shadow 0 '^plain .* pass +restored in .* and well' --load sched --for 6s --allow-unknown --shadow plain
	[[ $(vm redis-cli -p 6390 get key) == value* ]] || die "the redis that was copied does not go on"
}
host_canary() {
	lab down > /dev/null 2>&1 || true
	lab up --host --cpus 4 --mem 4096
	image=$(vm sh -c 'ls /boot/vmlinuz-* | grep -v "$(uname -r)"' | tr -d '\r')
	client_alive() { [ "$(vm systemctl is-system-running | tr -d '\r')" = running ] || die "the system: $(vm systemctl --failed --no-legend)"; }
	# sessions come and go there, and so do the journal's files
	machine() { vm sh -c 'cat /sys/devices/system/cpu/online; ls /proc/multikernel; lsmod | cut -d" " -f1 | sort; ip -o addr; ip route; nft list ruleset
		cat /proc/mounts | sort; ls /sys/block; cat /proc/sys/kernel/panic /proc/sys/kernel/hung_task_timeout_secs; systemctl --no-legend --type=service --state=running | cut -d" " -f3' | tr -d '\r'; }
	vm khoctl check --to "$image" > /dev/null || die "check"
	machine > "$out/before"
	canary host 0 '^pass$' --for 15s --allow-unknown
	! grep -a '^crypto.*undecided' "$out/host.txt" || die "the load crypto could not be run from khoctl's own initramfs"
	canary host-command 0 '^pass$' --load '/usr/bin/sha256sum /etc/hostname' --for 6s --allow-unknown
	rc=0
	vm env KHOCTL_FAULT=load:kill khoctl canary --kernel "$image" --load sched --for 3s > "$out/host-killed.txt" 2>&1 || rc=$?
	[ "$rc" = 4 ] || { cat "$out/host-killed.txt"; die "killed: exit code $rc"; }
	for i in $(seq 60); do
		[[ $(vm khoctl status) != *'rolled back: khoctl died in step load'* ]] || break
		[ "$i" -lt 60 ] || die "nobody has undone it: $(vm khoctl status)"
		sleep 1
	done
	as_before host-killed
	ok "khoctl killed on a machine with its root on a disk: who stands by has taken the canary back"
	host_shadow
}
[ "${HOST:-}" != all ] || host_canary
echo "$passed passed, 0 failed"
