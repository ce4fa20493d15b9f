#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# gates: faults planted in a recorded tree are found and named; the running kernel is really measured (root), fails for its real values
# when nothing is allowed, and keeps no program of ours.
# shellcheck source=tests/cli/tap.sh
. "$(dirname "$0")/tap.sh"
root=$tmp/root
clock=$root/sys/devices/system/clocksource/clocksource0
good() { # a kernel of 6.12 without a fault, khoctl's module loaded
	mkdir -p "$root/dev" "$root/proc/sys/kernel" "$root/proc/pressure" "$root/sys/kernel" "$clock"
	printf '%s\n' '5,0,0,-;Linux version 6.12.1' '4,1,9,-;khoctl: loading out-of-tree module taints kernel.' ' SUBSYSTEM=x' '12,2,9,-;WARNING: CPU: 0 PID: 1 at a user' > "$root/dev/kmsg"
	echo 12288 > "$root/proc/sys/kernel/tainted"
	echo 0 > "$root/sys/kernel/oops_count"
	echo 0 > "$root/sys/kernel/warn_count"
	echo tsc > "$clock/current_clocksource"
	printf 'MemTotal: 1000000 kB\nMemFree: 1 kB\nMemAvailable: 400000 kB\n' > "$root/proc/meminfo"
	printf 'some avg10=3.40 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n' > "$root/proc/pressure/memory"
}
gates() { # CODE NAME OPTION...
	local code=$1 name=$2
	shift 2
	exits "$code" "$name" "$khoctl" gates --sysroot "$root" "$@"
}
log() { printf '%s\n' "$@" >> "$root/dev/kmsg"; }

good
gates 9 "a recorded tree has no latencies: undecided"
says '^wakeup .* - .* unknown +not measured' "wakeup: unknown, with the reason"
says '^gate timer: not known: .*--allow-unknown' "undecided: the gate and what to do"
gates 0 "unknown allowed" --allow-unknown
says '^ready$' "unknown allowed: ready"
says '^taint .* 0 .* pass +OE \(no fault\)' "a module of ours is no fault"
says '^warn .* 0 .* pass' "what user space wrote into the log is no warning"
says '^pressure .* 3 % ' "pressure is measured"
rm -r "$root/proc/pressure"
gates 0 "no PSI" --allow-unknown --json
exits 1 "no PSI: no such gate" grep -q '"name":"pressure"' "$tmp/out"
gates 9 "JSON" --json
says '"verdict":"unknown"' "JSON: verdict"
says '"value":null' "JSON: what is unknown has no value"
says '"exit":9' "JSON: exit code"

# each fault by itself: what is planted, the gate that must say so
planted() { # GATE PATTERN
	gates 8 "planted: $1" --allow-unknown
	says "^$1 .* fail" "planted: $1 fails"
	says "^gate $1: .*$2" "planted: $1, its value"
	good
}
good; echo 1 > "$root/sys/kernel/oops_count"; planted oops ": 1, and at most 0 is allowed"
log '4,3,9,-;WARNING: CPU: 1 PID: 7 at kernel/x.c:12 f+0x1/0x2'; echo 2 > "$root/sys/kernel/warn_count"
planted warn ': 2, and at most 0 is allowed: first: WARNING: CPU: 1 PID: 7 at kernel/x\.c:12'
log '4,3,9,-;WARNING: possible recursive locking detected'; planted lockdep ': 1, '
log '3,3,9,-;INFO: task dd:77 blocked for more than 122 seconds.'; planted hung ': 1, '
log '3,3,9,-;rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:'; planted stall ': 1, '
log '6,3,9,-;mce: [Hardware Error]: Machine check events logged'; planted mce ': 1, '
log '1,3,9,-;BUG: Bad page state in process sh  pfn:00012'; planted corrupt ': 1, '
echo $((4096 + 512 + 128)) > "$root/proc/sys/kernel/tainted"; planted taint ': 2, .*DW; O \(no fault\)'
log "4,3,9,-;clocksource: Marking clocksource tsc unstable due to frequency skew"; echo hpet > "$clock/current_clocksource"
planted clock ': 1, .*hpet'
echo refined-jiffies > "$clock/current_clocksource"; planted clock 'nothing better than refined-jiffies'
printf 'MemTotal: 1000000 kB\nMemAvailable: 40000 kB\n' > "$root/proc/meminfo"; planted memory ': 4 %, and at least 5 % is allowed'
printf 'some avg10=61.20 avg60=0.00 avg300=0.00 total=0\n' > "$root/proc/pressure/memory"; planted pressure ': 61 %, and at most 20 %'

# a log whose beginning is gone tells only what it has; counters tell all
good
sed -i '1,2d' "$root/dev/kmsg"
gates 9 "a log that has been overwritten"
says '^mce .* - .* unknown +[0-9]+ lines of the kernel' "overwritten: unknown"
says '^oops .* pass' "overwritten: what has a counter is known"
rm "$root/dev/kmsg"
gates 9 "no log"
says '^stall .* unknown .*/dev/kmsg' "no log: unknown, with the reason"

good
gates 0 "other limits" --allow-unknown --gate-limits memory=40,pressure=3
gates 8 "a limit that is not kept" --allow-unknown --gate-limits memory=41
exits 1 "no such gate" "$khoctl" gates --gate-limits wakup=1
says "limit 'wakup=': there is no such gate" "no such gate: said"
exits 1 "no number" "$khoctl" gates --gate-limits wakeup=soon --json
says '"exit":1' "no number: in JSON"

# the kernel that runs here, whatever it is like: measured, not assumed
if [ "$(id -u)" != 0 ] || [ ! -r /sys/kernel/btf/vmlinux ] || ! bpftool prog list > /dev/null 2>&1; then
	echo "# the running kernel is not measured: not root, no bpf(2), or no BTF"
	finish
	exit
fi
rc=0
"$khoctl" gates --json > "$tmp/live" || rc=$?
exits 0 "live: a verdict, and its exit code" jq -e --argjson rc $rc '.exit == $rc and .verdict == ({"0": "pass", "8": "fail", "9": "unknown"}["\($rc)"])' "$tmp/live"
exits 0 "live: latencies have values" jq -e '[.gates[] | select(.name == "wakeup" or .name == "timer") | .value > 0] == [true, true]' "$tmp/live"
exits 8 "live: no latency allowed" "$khoctl" gates --gate-limits wakeup=0,timer=0 --allow-unknown
says '^wakeup .* [0-9]+ us +at most 0 us +fail +CPU [0-9]+ of [0-9]+: median' "live: fails for what it really does"
gone() { for _ in $(seq 30); do bpftool prog list | grep -q kho_ || return 0; sleep 0.1; done; return 1; }
exits 0 "live: no program stays" gone
finish
