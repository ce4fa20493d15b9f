# shellcheck shell=bash
# What the demo, the VM tests and the bench share: a lab with redis as a workload, the outside client, the floor and
# one upgrade. Sourced; needs $LABNAME. Every function prints what it does and fails loudly.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$here/../.." && pwd)
export LAB_NAME=${LABNAME:?}
out=$top/build/$LABNAME
mkdir -p "$out"

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
# one more thing seen
passed=0
ok() { echo "ok    $*"; passed=$((passed + 1)); }
die() { printf 'FAIL: %s\n' "$*" >&2; exit 1; }
lab() { "$here/lab" "$@"; }
vm() { lab exec -- "$@"; }
in_vm() { vm sh -c "$1" | tr -d '\r'; }
# upgrade_died N RC: that ends the test, with what the kernel that was given up had said last
upgrade_died() { vm sh -c 'khoctl log | tail -n 60' || true; die "upgrade $1: exit code $2"; }
# has FILE PATTERN: it, in $out, has a line that matches
has() { grep -aqE -- "$2" "$out/$1" || { tail -n 30 "$out/$1"; die "$1: no '$2'"; }; }
netns() { ip netns exec "khoctl-lab-$LAB_NAME" "$@"; }

# What runs in the VM now.
vm_release() { vm uname -r | tr -d '\r\n'; }
# The image of the other kernel: the newest one in /boot that is not the running one.
other_image() { vm sh -c 'for f in /boot/vmlinuz-*; do [ "$f" = "/boot/vmlinuz-$(uname -r)" ] || echo "$f"; done' | tail -n 1; }

# The workload: Debian's redis-server, append-only file on the data disk, declared to khoctl. $1: MiB of data
redis_start() {
	cat > "$out/redis.conf" <<-'E'
		# the workload: found by its pid file, judged in the dark by a PING inside the locked network
		pidfile = /run/redis.pid
		health-tcp = 127.0.0.1:6379
		health-send = PING\r\n
		health-expect = +PONG
	E
	vm mkdir -p /etc/khoctl/workloads.d
	lab put "$out/redis.conf" /etc/khoctl/workloads.d/redis.conf
	vm setsid redis-server --port 6379 --bind 0.0.0.0 --protected-mode no --save '' --appendonly yes \
		--appendfsync everysec --dir /data --daemonize yes --pidfile /run/redis.pid --logfile /data/redis.log \
		--enable-debug-command yes
	local i
	for i in $(seq 50); do
		[ "$(vm redis-cli ping 2>/dev/null)" = PONG ] && break
		[ "$i" -lt 50 ] || die "redis does not answer"
		sleep 0.2
	done
	if [ "${1:-0}" -gt 0 ]; then
		vm redis-cli debug populate $(($1 * 1024)) filler 1000 > /dev/null
	fi
}

client_pid=
client_start() {
	# not by netns(): the pid must be the client's own
	ip netns exec "khoctl-lab-$LAB_NAME" "$top/build/tests/vm/client" --interval-us "${CLIENT_INTERVAL_US:-5000}" "$(lab status --address)" 6379 \
		> "$out/client.json" 2> "$out/client.err" &
	client_pid=$!
	sleep 1
	kill -0 "$client_pid" 2>/dev/null || die "client ended: $(cat "$out/client.err")"
}
client_alive() { kill -0 "$client_pid" 2>/dev/null || die "the client ended: $(cat "$out/client.json" "$out/client.err")"; }
client_stop() {
	client_alive
	kill -TERM "$client_pid"
	wait "$client_pid" || true
	jq -e . "$out/client.json" > /dev/null || die "client gave no result"
}
# Of a client that was stopped: it saw no error, and no reply is missing.
client_whole() {
	[ "$(jq '.errors + .resets + .out_of_order' "$out/client.json")" = 0 ] || die "the client saw errors: $(jq -c 'del(.gaps)' "$out/client.json")"
	[ "$(jq '.sent == .acked' "$out/client.json")" = true ] || die "replies are missing: $(jq -c 'del(.gaps)' "$out/client.json")"
}
# It ends, and has had every reply, in order, on its one connection
client_served() {
	client_stop
	client_whole
	ok "one connection, $(jq .acked "$out/client.json") replies in order"
}
# What most tests begin with: a fresh VM, redis in it, the client on its connection
redis_lab() {
	lab down > /dev/null 2>&1 || true
	lab up --cpus 4 --mem 4096
	redis_start 16
	client_start
}

# floor N: criu dump + criu restore of the same process on one kernel, nothing else; total microseconds into floor.N
floor() {
	lab put "$here/floor.sh" /run/floor.sh
	vm sh /run/floor.sh /run/redis.pid > "$out/floor.$1.txt" || { cat "$out/floor.$1.txt"; die "floor"; }
	sed -n 's/^total_us *//p' "$out/floor.$1.txt" | tr -d '\r' > "$out/floor.$1"
	[ -s "$out/floor.$1" ] || die "floor gave no number"
}

# Everything that must be the same before and after; memory is compared apart. What may stay: the record of what was tried (journal,
# events), the lock's file, empty folders.
machine() {
	vm sh -c 'cat /sys/devices/system/cpu/online; ls /proc/multikernel; lsmod | cut -d" " -f1 | sort
		for d in /sys/bus/pci/devices/*; do echo "${d##*/} $(basename "$(readlink "$d/driver" || echo none)")"; done
		ip -o addr | sed "s/valid_lft.*//"; ip route; tc qdisc show dev eth0; nft list ruleset; cat /proc/mounts | sort
		ls /sys/block | sort; cat /proc/sys/kernel/panic; ps -eo comm= 2>/dev/null | grep -v -e kworker -e "^ps$" -e "^sh$" -e "^sort$" -e "^uniq$" -e "^grep$" | sort | uniq -c
		find /sys/fs/cgroup -name cgroup.freeze -exec cat {} + 2>/dev/null | sort | uniq -c; find /run/khoctl /var/lib/khoctl -mindepth 1 2>/dev/null | grep -vE "/(lock|packed|no-plugins|images|(journal|events|dmesg|history)[^/]*)$" | sort' | tr -d '\r'
}
mem_free() { vm sh -c 'echo 3 > /proc/sys/vm/drop_caches; sed -n "s/MemAvailable: *\([0-9]*\).*/\1/p" /proc/meminfo' | tr -d '\r'; }

# Wait until the incoming kernel has retired the outgoing one and owns every CPU. $1: release
wait_alone() {
	local i s=
	for i in $(seq 90); do
		s=$(vm khoctl list --json 2>/dev/null || true)
		if [ "$(vm_release 2>/dev/null)" = "$1" ] &&
		   [ "$(jq '.instances | length' <<< "$s" 2>/dev/null)" = 1 ] &&
		   [ "$(vm nproc --all 2>/dev/null | tr -d '\r')" = "${CPUS:-4}" ] &&
		   [ "$(vm sh -c 'cat /sys/devices/system/cpu/online' | tr -d '\r')" = "0-$((${CPUS:-4} - 1))" ] &&
		   vm test -e /run/khoctl/instance.json 2>/dev/null; then
			return 0
		fi
		sleep 1
	done
	die "$1 did not become the only kernel: $s"
}

# While an upgrade runs: both kernels as the outgoing one shows them, and the incoming one's messages, which hold its own view.
watch_both() {
	local seen="$out/both.$1"
	rm -f "$seen" "$out/console.$1"
	until vm sh -c 'khoctl list && cat /proc/multikernel' > "$seen.new" 2> /dev/null && [ "$(grep -cE ' ready ' "$seen.new")" -ge 4 ]; do
		sleep 0.5
	done
	mv "$seen.new" "$seen"
	vm khoctl console > "$out/console.$1" 2>&1
}

# both_seen N FROM TO: two kernels at the same time, told by both
both_seen() {
	local r
	say "two kernels at once: as $2 showed them, and as $3 did (khoctl console)"
	cat "$out/both.$1" 2> /dev/null || die "khoctl list never showed two kernels"
	grep -a 'khoctl-incoming: .*[0-9] ' "$out/console.$1" | grep -aE ' (RELEASE|'"${2//+/.}|${3//+/.}"') ' || true
	for r in "$2" "$3"; do
		[ "$(grep -cF "$r" "$out/both.$1")" -ge 2 ] || die "$2 does not show $r"
		[ "$(grep -aF 'khoctl-incoming:' "$out/console.$1" | grep -acF " $r ")" -ge 1 ] || die "$3 does not show $r"
	done
}

# with_floor N: report.N.json and the floor, if floor.N is there, into upgrade.N.json
with_floor() {
	jq --argjson floor "$(cat "$out/floor.$1" 2>/dev/null || echo null)" \
		'. + {floor_us: $floor, ratio: (if $floor then (.blackout_us / $floor * 1000 | round / 1000) else null end)}' \
		"$out/report.$1.json" > "$out/upgrade.$1.json"
}

# upgrade N: check, upgrade with live progress, wait; report into upgrade.N.json (with the floor, if floor.N is there)
upgrade() {
	local n=$1 from to image
	from=$(vm_release); image=$(other_image); to=${image#/boot/vmlinuz-}
	say "upgrade $n: $from -> $to"
	printf '%s\n' "# khoctl check --to $image"
	vm khoctl check --to "$image" || die "check"
	printf '%s\n' "# khoctl upgrade --to $image"
	watch_both "$n" &
	local watcher=$! rc=0
	vm khoctl upgrade --to "$image" || rc=$?
	kill "$watcher" 2> /dev/null || true
	[ "$rc" = 0 ] || upgrade_died "$n" "$rc"
	client_alive
	both_seen "$n" "$from" "$to"
	wait_alone "$to"
	client_alive
	vm khoctl report --json > "$out/report.$n.json" || die "report"
	with_floor "$n"
	[ "$(jq -r .to "$out/upgrade.$n.json")" = "$to" ] || die "report names another kernel"
}

# Kernels for the carrier "luo", for `lab up`. Kernel and initramfs (110 MB) must each fit into one scratch area of the first kernel
# (kho_scratch=lowmem,global,pernode; all later ones inherit them); the default, twice of what its early boot took, has nothing to do with that.
# shellcheck disable=SC2034 # for who sources this
LUO_KERNELS=(--outgoing built/kho-before --incoming built/kho --append 'kho=on liveupdate=on kho_scratch=256M,512M,256M')

# upgrade_by_kexec N [OPTION...]: the same by the kexec engine. Nobody is left to give an exit code when the next kernel has taken this one's place.
upgrade_by_kexec() {
	local n=$1 from to image i
	shift
	from=$(vm_release); image=$(other_image); to=${image#/boot/vmlinuz-}
	say "upgrade $n by kexec: $from -> $to"
	vm khoctl check --to "$image" --engine kexec "$@" > "$out/check.$n.txt" 2>&1 || { cat "$out/check.$n.txt"; die "check"; }
	cat "$out/check.$n.txt"
	vm khoctl upgrade --to "$image" --engine kexec "$@" 2>&1 | tee "$out/jump.$n.txt" || true
	for i in $(seq 60); do
		[ "$(vm_release 2> /dev/null)" != "$to" ] || [ "$(vm khoctl report --json 2> /dev/null | jq -r .outcome 2> /dev/null)" != upgraded ] || break
		[ "$i" -lt 60 ] || { tail -n 30 "$top/build/lab/$LAB_NAME/outgoing.log"; die "$to does not run, or has not everything"; }
		sleep 1
	done
	client_alive
	vm khoctl report --json > "$out/report.$n.json" || die "report"
	[ "$(jq -r '.engine + " " + .from + " " + .to' "$out/report.$n.json")" = "kexec $from $to" ] || die "the report: $(jq -c '{outcome, engine, from, to}' "$out/report.$n.json")"
	with_floor "$n"
}

# back_by_kexec N TRIES [OPTION...]: the same, but a CRIU of the next kernel is killed in the middle of its restore: that kernel starts this one again, with
# everything, within TRIES seconds or so
back_by_kexec() {
	local n=$1 tries=$2 from i
	shift 2
	from=$(vm_release)
	say "the next kernel cannot restore"
	vm env KHOCTL_FAULT=proc.retrieve:peer-criu khoctl upgrade --to "$(other_image)" --engine kexec --cmdline khoctl.fault=1 "$@" > "$out/back.$n.txt" 2>&1 || true
	for i in $(seq "$tries"); do
		[ "$(vm khoctl report --json 2> /dev/null | jq -r .outcome 2> /dev/null)" != "rolled back" ] || break
		[ "$i" -lt "$tries" ] || { tail -n 40 "$out/back.$n.txt" "$top/build/lab/$LAB_NAME/outgoing.log"; die "the way back did not come to its end"; }
		sleep 1
	done
	[ "$(vm_release)" = "$from" ] || die "$from does not run again"
	vm khoctl report > "$out/back.$n.report"
	has "back.$n.report" 'could not go on'
}

# disk_is_clean IMAGE LOG: after the VM was cut off as by a power loss: what its journal holds is replayed, then nothing may be wrong
disk_is_clean() {
	e2fsck -p -E journal_only "$1" > "$2" 2>&1 || [ $? = 1 ] || die "the journal of ${1##*/} cannot be replayed: $(tail -3 "$2")"
	e2fsck -fn "$1" >> "$2" 2>&1 || die "${1##*/} is not clean: $(tail -3 "$2")"
}

# The AOF on disk holds every acknowledged INCR: a second redis loads a copy of it. $1: the last acknowledged number
aof_complete() {
	vm sh -c 'sleep 2; rm -rf /data/copy; mkdir /data/copy; cp -a /data/appendonlydir /data/copy/ &&
		setsid redis-server --port 6380 --save "" --appendonly yes --dir /data/copy --daemonize yes --pidfile /run/copy.pid >/dev/null
		i=0; until redis-cli -p 6380 ping 2>/dev/null | grep -q PONG; do i=$((i+1)); [ $i -lt 100 ] || exit 1; sleep 0.2; done
		redis-cli -p 6380 get ctr; redis-cli -p 6380 shutdown nosave >/dev/null 2>&1; rm -rf /data/copy' | tr -d '\r"' > "$out/aof"
	[ "$(cat "$out/aof")" = "$1" ] || die "the AOF counts $(cat "$out/aof"), the client had $1 acknowledged"
	echo "AOF on disk: $1 of $1 acknowledged INCRs"
}
