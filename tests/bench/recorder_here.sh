#!/usr/bin/env bash
# As root, on this machine's own kernel, no VM: CPU time that redis takes for a request at full speed (its own, user and system, as the kernel counts it),
# with khoctl record and without, in pairs whose order changes, under a load that never ends. An emulator translates code anew each time the kernel patches
# it, which the recorder has it do each second: only a real CPU tells what it takes. redis comes from the cache; /etc/khoctl is another one meanwhile, for it
# alone. Ratio of each pair, their median, mean and its standard error into build/bench-recorder-here/report.json. No assertion. ROUNDS (60) of two times
# EACH (4: as long as the windows of a long recording are apart) seconds, of recordings of FOR (600s).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd) top=$(cd "$here/../.." && pwd)
out=$top/build/bench-recorder-here
mkdir -p "$out"
# shellcheck source=tests/vm/common.sh
. "$here/../vm/common.sh"
if [ -z "${INSIDE-}" ]; then
	"$here/../vm/cache.sh"
	INSIDE=1 exec unshare -m -n --propagation private "$0" "$@"
fi
root=$cache/user port=7379
ROUNDS=${ROUNDS:-60} EACH=${EACH:-4} FOR=${FOR:-600s}
ip link set lo up
made=
[ -d /etc/khoctl ] || { mkdir /etc/khoctl; made=1; }
mount -t tmpfs -o mode=0700 tmpfs /etc/khoctl
mkdir /etc/khoctl/workloads.d
mount --bind "$root" "$root"
mount -t tmpfs tmpfs "$root/tmp"
in_root() { chroot "$root" "$@"; }
trap 'in_root redis-cli -p $port shutdown nosave > /dev/null 2>&1 || true; [ -z "${recorder-}" ] || kill "$recorder" 2> /dev/null || true
	[ -z "${load-}" ] || kill "$load" 2> /dev/null || true
	umount /etc/khoctl; [ -z "$made" ] || rmdir /etc/khoctl' EXIT
cpus=$(nproc)
taskset -c 0 chroot "$root" redis-server --port $port --bind 127.0.0.1 --save '' --daemonize yes --pidfile /tmp/redis.pid --dir /tmp > /dev/null
until [ -s "$root/tmp/redis.pid" ] && in_root redis-cli -p $port ping > /dev/null 2>&1; do sleep 0.1; done
echo "pidfile = $root/tmp/redis.pid" > /etc/khoctl/workloads.d/redis.conf
# requests that redis has served, and the CPU time it has taken for them, in us
taken() { in_root redis-cli -p $port info everything | tr -d '\r' | awk -F: '/^used_cpu_(sys|user):/ { s += $2 } /^total_commands_processed:/ { n = $2 } END { printf "%d %.0f", n, s * 1000000 }'; }
# measure SERIES: ns of CPU time for a request
measure() {
	local n us n2 us2
	read -r n us <<< "$(taken)"
	sleep "$EACH"
	read -r n2 us2 <<< "$(taken)"
	echo $(((us2 - us) * 1000 / (n2 - n))) >> "$out/$1"
}
# recording: the recorder has its programs in the kernel
recording() {
	local i
	for i in $(seq 100); do
		# shellcheck disable=SC2010
		! ls -l "/proc/$recorder/fd" 2> /dev/null | grep -q bpf_link || return 0
		kill -0 "$recorder" 2> /dev/null || break
		sleep 0.1
	done
	cat "$out/beside.txt"
	exit 1
}
# beside SERIES COMMAND...: measured while that runs. Without the recorder something else does: to start a process and end it costs redis something, too.
beside() {
	local series=$1
	shift
	"$@" > "$out/beside.txt" 2>&1 & recorder=$!
	sleep 1
	[ "$series" = off ] || recording
	measure "$series"
	kill "$recorder"; wait "$recorder" 2> /dev/null || true
	recorder=
}
off() { beside off sleep 600; }
on() { beside on "$top/build/khoctl" record "$out/recording.json" --for "$FOR"; }
: > "$out/off"; : > "$out/on"
taskset -c $((cpus - 1)) chroot "$root" redis-benchmark -p $port -l -c 8 -t set > /dev/null 2>&1 & load=$!
sleep 3
for i in $(seq "$ROUNDS"); do
	if [ $((i % 2)) = 1 ]; then off; on; else on; off; fi
done
jq -n --slurpfile off "$out/off" --slurpfile on "$out/on" 'def at(f): sort | .[length * f | floor];
	[range($off | length) | $on[.] / $off[.]] as $r | ($r | add / length) as $mean |
	{ns_for_a_request: {without: ($off | at(0.5)), with: ($on | at(0.5))}, pairs: ($r | length),
	 with_over_without: ({median: ($r | at(0.5)), lower_quartile: ($r | at(0.25)), upper_quartile: ($r | at(0.75)), mean: $mean,
		standard_error: (($r | map(. - $mean | . * .) | add / (length - 1) / length) | sqrt)} | map_values(. * 10000 | round / 10000))}' | tee "$out/report.json"
