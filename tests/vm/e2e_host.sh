# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# What the demo and the tests of the Debian machine share: its services as workloads, one client outside for each, one upgrade with
# all that must be seen after it, and the end of the machine. Sourced after e2e.sh (common words, lab, wait_alone).

# service -> its unit, the client's protocol, microseconds between requests; $SERVICES: those that are listed (web: the container)
declare -A UNIT=([redis]=redis-server.service [nginx]=nginx.service [postgres]=postgresql@17-main.service [web]=web.service
	[proxy]=proxy.service)
declare -A PROTOCOL=([redis]=redis [nginx]=http [postgres]=postgres [web]=redis [proxy]=http)
declare -A PORT=([redis]=6379 [nginx]=8080 [postgres]=5432 [web]=8000 [proxy]=7000)
declare -A EVERY_US=([redis]=10000 [nginx]=10000 [postgres]=50000 [web]=20000 [proxy]=30000)
declare -A ADDRESS=() # the machine's, unless one is given
SERVICES=${SERVICES:-redis nginx postgres web}
declare -A client=()

listed() { printf '%s\n' "${!UNIT[@]}" | grep -qx "$1" || die "no service '$1'"; }
unit_of() { vm systemctl show -P "$2" "${UNIT[$1]}" | tr -d '\r\n'; }

# A service that a socket unit starts, and whose connections lead to another one of this machine: systemd's own proxy before nginx.
host_proxy() {
	vm sh -ec 'd=/etc/systemd/system
		printf "[Socket]\nListenStream=7000\n[Install]\nWantedBy=sockets.target\n" > $d/proxy.socket
		printf "[Unit]\nRequires=proxy.socket\nAfter=proxy.socket\n[Service]\nExecStart=/usr/lib/systemd/systemd-socket-proxyd 127.0.0.1:8080\n" > $d/proxy.service
		systemctl daemon-reload; systemctl enable --now proxy.socket; systemctl start proxy.service' || die "the proxy does not start"
}

# A file in workloads.d for each service: all that an operator does.
host_list() {
	local s root
	for s in $SERVICES; do
		listed "$s"
		[ "$s" != web ] || vm systemctl start web
		[ "$s" != proxy ] || host_proxy
		root="unit = ${UNIT[$s]}"
		[ "$s" != web ] || root="container = web"
		printf '%s\n' "$root" "health-tcp = 127.0.0.1:${PORT[$s]}" > "$out/$s.conf"
		[ "$s" != redis ] || printf '%s\n' 'health-send = PING\r\n' 'health-expect = +PONG' >> "$out/$s.conf"
		lab put "$out/$s.conf" "/etc/khoctl/workloads.d/$s.conf"
	done
}

# A container's unit is active before what is in it listens.
host_listens() {
	local i
	for i in $(seq 120); do
		! netns timeout 10 bash -c 'exec 3<> "/dev/tcp/$0/$1"' "${ADDRESS[$1]:-$(lab status --address)}" "${PORT[$1]}" 2> /dev/null || return 0
		sleep 0.5
	done
	die "$1 does not listen"
}

host_clients_start() {
	local s
	for s in $SERVICES; do
		host_listens "$s"
		# not by netns(): the pid must be the client's own
		ip netns exec "khoctl-lab-$LAB_NAME" "$top/build/tests/vm/client" --protocol "${PROTOCOL[$s]}" --interval-us "${EVERY_US[$s]}" \
			"${ADDRESS[$s]:-$(lab status --address)}" "${PORT[$s]}" > "$out/client.$s.json" 2> "$out/client.$s.err" &
		client[$s]=$!
	done
	sleep 3
	host_clients_alive
}
host_clients_alive() {
	local s
	for s in $SERVICES; do
		kill -0 "${client[$s]}" 2> /dev/null || die "the client of $s ended: $(jq -c 'del(.gaps)' "$out/client.$s.json") $(cat "$out/client.$s.err")"
	done
}
# client_acked SERVICE: replies so far
client_acked() {
	local n
	n=$(wc -l < "$out/client.$1.err")
	kill -USR1 "${client[$1]}"
	for _ in $(seq 50); do
		[ "$(wc -l < "$out/client.$1.err")" -gt "$n" ] && break
		sleep 0.1
	done
	tail -n 1 "$out/client.$1.err" | jq '.acked'
}
# Every client gets replies, and has seen no error.
host_clients_served() {
	local s a i
	for s in $SERVICES; do
		a=$(client_acked "$s")
		for i in $(seq 60); do
			[ "$(client_acked "$s")" -le "$a" ] || break
			[ "$i" != 60 ] || die "the client of $s gets no reply any more"
			sleep 0.5
		done
		[ "$(tail -n 1 "$out/client.$s.err" | jq '.errors + .resets + .out_of_order')" = 0 ] ||
			die "the client of $s saw $(tail -n 1 "$out/client.$s.err" | jq -c 'del(.gaps)')"
	done
}
# Stops them; each has seen no error and no reply is missing; what was acknowledged is in the database.
host_clients_stop() {
	local s c
	host_clients_alive
	for s in $SERVICES; do
		kill -TERM "${client[$s]}"
		wait "${client[$s]}" || true
		client[$s]=
		c=$(jq -c '{sent, acked, errors, resets, out_of_order, max_gap_us, why}' "$out/client.$s.json") || die "the client of $s gave no result"
		echo "$s: $c"
		[ "$(jq '.errors + .resets + .out_of_order' <<< "$c")" = 0 ] || die "the client of $s saw errors"
		[ "$(jq '.sent == .acked and .acked > 0' <<< "$c")" = true ] || die "$s: replies are missing"
		case $s in
		redis) c=$(vm redis-cli get ctr) ;;
		postgres) c=$(vm runuser -u postgres -- psql -d postgres -Atqc 'SELECT count(*) FROM ctr_seen') ;;
		*) continue ;;
		esac
		c=$(tr -d '"\r\n' <<< "$c")
		[ "$c" = "$(jq .acked "$out/client.$s.json")" ] || die "$s holds $c, its client has $(jq .acked "$out/client.$s.json") acknowledged"
	done
}
host_clients_kill() {
	local s
	for s in "${!client[@]}"; do [ -z "${client[$s]}" ] || kill "${client[$s]}" 2> /dev/null || true; done
}

# go_compared N CLIENTS: the machine to its other kernel; what story() says is the same before and after, and the clients are served
go_compared() {
	local n=$1 image
	image=$(other_image)
	story > "$out/story.$n.before"
	say "upgrade $n: $(vm_release) -> ${image#/boot/vmlinuz-}"
	vm khoctl check --to "$image" || die "check"
	vm khoctl upgrade --to "$image" || upgrade_died "$n" $?
	wait_alone "${image#/boot/vmlinuz-}"
	runs_well "after upgrade $n"
	story > "$out/story.$n.after"
	diff -u "$out/story.$n.before" "$out/story.$n.after" || die "upgrade $n: it is not what it was"
	ok "upgrade $n: $(wc -l < "$out/story.$n.after") lines of what the machine says of it are the same"
	SERVICES=$2 host_clients_alive
	SERVICES=$2 host_clients_served
	ok "upgrade $n: all clients on their connections"
}

# host_pinned COMMAND: what the threads of the processes whose numbers it prints may run on, by APIC ids: two kernels number CPUs differently
host_pinned() {
	# shellcheck disable=SC2016
	local by_apicid='/^processor/ { c = $3 } /^apicid/ { id[c] = $3 } /^Name:/ { name = $2 } /^Cpus_allowed_list:/ { split("", on)
		n = split($2, r, ","); for (i = 1; i <= n; i++) { m = split(r[i], e, "-"); for (p = e[1]; p <= e[m]; p++) if (p in id) on[id[p]] = 1 }
		s = ""; for (p = 0; p < 256; p++) if (p in on) s = s " " p; print name " may run on APIC ids" s }'
	# shellcheck disable=SC2016
	vm sh -c 'for p in $(eval "$1"); do awk "$2" /proc/cpuinfo /proc/"$p"/task/*/status; done | sort' sh "$1" "$by_apicid" | tr -d '\r'
}

# The units as systemd tells them, one line each: name, state, restarts, main process, its start (in clock ticks, as ps shows it).
host_units() {
	local s pid
	for s in $SERVICES; do
		pid=$(unit_of "$s" MainPID)
		echo "$s ${UNIT[$s]} $(unit_of "$s" ActiveState) $(unit_of "$s" NRestarts) $pid $(vm cat "/proc/$pid/comm" | tr -d '\r\n')"
	done
}
units_json() { jq -R 'split(" ") | {service: .[0], unit: .[1], state: .[2], restarts: (.[3] | tonumber), main_pid: (.[4] | tonumber)}' | jq -s .; }

# The state of the machine that must be the same after something that failed (the module that holds packets may stay loaded).
host_machine() {
	# shellcheck disable=SC2016
	vm sh -c 'exec 2>&1
		systemctl list-units --all --plain --no-legend --type=service,socket,mount,target,timer | awk "{ print \$1, \$2, \$3, \$4 }" | grep -v -e "^run-credentials" -e "^systemd-tmpfiles-clean.service" -e ^user -e ^session | sort
		for u in '"$(for s in $SERVICES; do printf '%s ' "${UNIT[$s]}"; done)"'; do systemctl show -p MainPID,NRestarts,ActiveEnterTimestamp,ControlGroup "$u"; done
		findmnt -rn -o TARGET,SOURCE,FSTYPE,OPTIONS | sort; ip -o addr | sed "s/valid_lft.*//"; ip route; ip -6 route; ip rule; tc qdisc show
		nft list ruleset; lsblk -rn -o NAME,TYPE,SIZE,RO,MOUNTPOINTS | sort; lsmod | cut -d" " -f1 | grep -vx sch_plug | sort; cat /sys/devices/system/cpu/online
		for d in /sys/bus/pci/devices/*; do echo "${d##*/} $(basename "$(readlink "$d/driver" || echo none)")"; done; uname -r; hostname; id -un' | tr -d '\r'
	host_pinned 'pgrep -x nginx'
}

# What upgrades could pile up, in a form that is the same whenever the same kernel runs: processes, what khoctl and systemd keep in
# /run, mounts, devices, modules, sockets, control groups; of each unit descriptors, mounts (but credentials of services that start just
# then, which come and go), System V objects, processes.
# (Whether a unit sees a container's root depends on which of them was there first, as on any machine.)
host_residue() {
	# shellcheck disable=SC2016
	vm sh -c 'exec 2>&1
		echo "# processes"; ps -e -o ppid=,comm= | awk "\$1 != 2 && \$1 != 0 { print \$2 }" | grep -vxE "sh|ps|awk|grep|sort|uniq|sleep|systemd-userwor|systemd-tmpfile|sshd.*" | sort | uniq -c | sed "s/^.* postgres\$/postgres/" # (autovacuum comes and goes)
		echo "# files"; find /run/khoctl /run/systemd/system /run/tmpfiles.d /run/log /tmp /var/tmp /dev/shm /dev/mapper -xdev | sed -E "s/[0-9a-f]{32}/ID/g; s/-[A-Za-z0-9]{6}\$/-RANDOM/; s/-[A-Za-z0-9]{6}\//-RANDOM\//; s/\.[0-9]{8,}/.N/" | grep -v -e "/run/log/journal/ID/" -e /tmp/put | sort | uniq -c
		echo "# mounts"; findmnt -rn -o TARGET,SOURCE,FSTYPE | grep -v -e /run/credentials -e /run/user | sort
		echo "# devices"; dmsetup ls; losetup; ls /sys/block | sort; ip -o link | cut -d: -f2; tc qdisc show; nft list tables; ls /proc/multikernel
		echo "# modules"; lsmod | awk "{ print \$1 }" | sort
		echo "# sockets"; ss -xan | awk "{ print \$5 }" | grep -v -e "^\*\$" -e "^[0-9]" | sort | uniq -c | grep -e khoctl -e /run/systemd/journal/syslog
		echo "# control groups"; find /sys/fs/cgroup -type d | grep -v -e /user.slice/ -e "\.scope" -e systemd-tmpfiles -e run-u | sort
		for u in '"$(for s in $SERVICES; do printf '%s ' "${UNIT[$s]}"; done)"'; do
			p=$(systemctl show -P MainPID "$u"); echo "# $u"
			cat "/sys/fs/cgroup$(systemctl show -P ControlGroup "$u")/cgroup.procs" | while read -r q; do cat "/proc/$q/comm"; done | sort | uniq -c | sed "s/^.* postgres\$/postgres/"
			for i in 1 2 3 4 5; do ls "/proc/$p/fd" | wc -l; sleep 0.5; done | sort -n | head -n 1; awk "{ print \$5 }" "/proc/$p/mountinfo" | grep -v -e ^/run/credentials -e ^/run/user -e "/overlay/.*/merged\$" | sed -E "s/[0-9a-f]{32}/ID/g; s/-[A-Za-z0-9]{6}\$/-RANDOM/; s/-[A-Za-z0-9]{6}\//-RANDOM\//" | sort | uniq -c; nsenter -i -t "$p" sh -c "ipcs -m; ipcs -q; ipcs -s" | grep -c "^0x"
			systemctl show -p NRestarts,DropInPaths,NFileDescriptorStore "$u"
		done' | tr -d '\r'
}

# A unit that was carried does what its file says: reload, and redis a snapshot of its own by a child. The clients go on.
host_services_work() {
	local s i
	for s in $SERVICES; do
		case $s in
		postgres) vm systemctl reload "${UNIT[$s]}" || die "systemctl reload ${UNIT[$s]}" ;;
		redis)
			vm redis-cli bgsave > /dev/null; vm redis-cli config set appendonly yes > /dev/null; vm redis-cli bgrewriteaof > /dev/null
			for i in $(seq 100); do
				vm redis-cli info persistence | tr -d '\r' > "$out/persistence"
				! grep -qE '^(rdb_bgsave_in_progress|aof_rewrite_in_progress|aof_rewrite_scheduled):1' "$out/persistence" || { sleep 0.5; continue; }
				break
			done
			grep -q '^rdb_last_bgsave_status:ok' "$out/persistence" && grep -q '^aof_last_bgrewrite_status:ok' "$out/persistence" ||
				die "redis cannot save by a child: $(grep -E '_status|_progress' "$out/persistence")"
			vm redis-cli config set appendonly no > /dev/null
			;;
		esac
	done
	host_clients_alive; host_clients_served
	echo "ok    reload, and redis saves by a child"
}

# (nginx closes idle connections when it is reloaded: without clients.) Restarted units are what they were before khoctl: no relay, no drop-in, a new main process that answers and logs to journald.
host_restart() {
	local s old new left
	for s in $SERVICES; do
		old=$(unit_of "$s" MainPID)
		if [ "$s" = nginx ]; then
			vm systemctl reload nginx || die "systemctl reload nginx"
			[ "$(unit_of "$s" MainPID)" = "$old" ] || die "reloaded, nginx has another main process"
		fi
		if [ "$s" = web ]; then
			vm systemctl stop web || die "systemctl stop web"
			left=$(vm sh -c 'ls /run/netns 2> /dev/null; podman ps -aq; ip -o link show type veth' | tr -d '\r')
			[ -z "$left" ] || die "the container is stopped, and this is left of it: $left"
		fi
		vm systemctl restart "${UNIT[$s]}" || die "systemctl restart ${UNIT[$s]}"
		new=$(unit_of "$s" MainPID)
		[ "$new" != "$old" ] && [ "$(unit_of "$s" ActiveState)" = active ] || die "$s: restarted, main process $old -> $new"
		[ -z "$(unit_of "$s" DropInPaths)" ] || die "$s has a drop-in: $(unit_of "$s" DropInPaths)"
		# shellcheck disable=SC2016
		left=$(vm sh -c 'cat "/sys/fs/cgroup$1/cgroup.procs" | while read -r p; do cat "/proc/$p/comm"; done | grep khoctl; ls -l "/proc/$2/fd/1" "/proc/$2/fd/2" | grep khoctl' sh \
			"$(unit_of "$s" ControlGroup)" "$new" | tr -d '\r') || true
		[ -z "$left" ] || die "$s: left over after a restart: $left"
		host_listens "$s"
	done
	echo "ok    restarted units are as before khoctl"
}

# A data disk in the machine's fstab (lab up --hardware functions), with a writer that is no workload and a file.
host_data_disk() {
	vm sh -ec 'echo "/dev/disk/by-id/virtio-khoctl-lab-extra /extra ext4 defaults 0 2" >> /etc/fstab; mkdir -p /extra
		systemctl daemon-reload; systemctl start extra.mount; echo before > /extra/file; sync' || die "the data disk cannot be mounted"
}
host_data_disk_is_there() {
	local s
	s=$(vm sh -c 'cat /extra/file; systemctl is-active extra.mount; findmnt -rn -o FSTYPE,OPTIONS /extra | cut -d, -f1; touch /extra/again && echo written' | tr '\r\n' '  ' | tr -s ' ')
	[ "$s" = "before active ext4 rw written " ] || die "the data disk: $s"
	echo "ok    data disk: mounted, its unit active, written to"
}

# runs_well WHEN: systemd is through with starting, and nothing has failed
runs_well() {
	local s
	s=$(vm timeout 300 systemctl is-system-running --wait 2> /dev/null | tr -d '\r\n') || true
	[ "$s" != running ] || return 0
	vm sh -c 'systemctl --failed --no-legend --no-pager; systemctl list-jobs --no-pager
		systemctl --failed --no-legend --no-pager --plain | while read -r u _; do journalctl -b -u "$u" --no-pager | tail -n 15; done; journalctl -b -p warning --no-pager | tail -n 40' || true
	die "$1: systemctl is-system-running: $s"
}

# ssh answers from outside
ssh_banner() {
	ip netns exec "khoctl-lab-$LAB_NAME" timeout 60 bash -c 'exec 3<> "/dev/tcp/$0/22"; head -c 7 <&3' "$(lab status --address)" 2> /dev/null
}

# observe N RELEASE: the machine runs RELEASE as the same machine; $out/units.before and $out/boots.N-1 tell what it was. Prints each.
observe() {
	local n=$1 rel=$2 s a d boot
	[ "$(vm_release)" = "$rel" ] || die "$(vm_release) runs, not $rel"
	echo "ok    kernel $rel"
	runs_well "on $rel"
	[ "$(vm cat /proc/1/comm | tr -d '\r\n')" = systemd ] || die "process 1 is not systemd"
	echo "ok    systemd is process 1, the system is running"
	s=$(vm findmnt -rn -o UUID,FSTYPE / | tr -d '\r\n')
	[ "$s" = "$(cat "$out/root")" ] || die "the root file system is $s, it was $(cat "$out/root")"
	case $(vm findmnt -rn -o OPTIONS / | tr -d '\r\n') in rw*) ;; *) die "the root file system is not writable" ;; esac
	echo "ok    root disk: $s"
	host_units > "$out/units.$n"
	diff -u "$out/units.before" "$out/units.$n" || die "units are not as they were"
	! grep -v ' active 0 ' "$out/units.$n" || die "a unit is not active, or was restarted"
	echo "ok    units never restarted:" $(awk '{ print $2 "=" $5 }' "$out/units.$n")
	host_pinned 'pgrep -x nginx' > "$out/pinned.$n"
	diff -u "$out/pinned.before" "$out/pinned.$n" || die "nginx is not pinned to the CPUs that it was pinned to"
	echo "ok    nginx is pinned as before: $(grep -c ' ids [0-9]*$' "$out/pinned.$n") threads to one CPU each"
	vm khoctl status | tr -d '\r' > "$out/status.$n"
	for s in $SERVICES; do
		grep -F "${UNIT[$s]}: still pid $(awk -v s="$s" '$1 == s { print $5 }' "$out/units.$n"), " "$out/status.$n" |
			grep -qF "(started on $(cat "$out/first"), $n upgrade" ||
			{ cat "$out/status.$n"; die "khoctl status does not tell how $s came here"; }
	done
	echo "ok    status: $(tail -n 1 "$out/status.$n")"
	case " $SERVICES " in *" web "*)
		s=$(vm podman ps --filter name=^web$ --format '{{.State}}' | tr -d '\r\n')
		[ "$s" = running ] || die "podman says of the container web: '$s'"
		echo "ok    podman ps: web is running"
		s=$(vm podman exec web /bin/sh -c 'echo in the container' | tr -d '\r\n')
		[ "$s" = "in the container" ] || die "podman exec web: '$s'"
		# shellcheck disable=SC2016
		s=$(vm sh -c 'echo said by it > "/proc/$(podman inspect -f "{{.State.Pid}}" web)/fd/1"
			for i in $(seq 30); do
				c=$(podman logs web 2>&1 | grep -c "said by it")
				[ "$c" != "$1" ] || break
				sleep 1
			done
			echo "$c"' sh "$n" | tr -d '\r\n')
		[ "$s" = "$n" ] || die "podman logs web has what it said on $s of $n kernels"
		echo "ok    podman exec, podman logs: what the container said on all kernels"
		;;
	esac
	host_clients_alive; host_clients_served
	echo "ok    clients: each on its one connection, no error"
	s=$(ssh_banner) || true
	[ "$s" = SSH-2.0 ] || die "ssh does not answer: '$s'"
	echo "ok    ssh answers"
	boot=$(vm cat /proc/sys/kernel/random/boot_id | tr -d '\r\n-')
	echo "$boot" > "$out/boot.$n"
	for a in $(seq 0 "$n"); do
		s=$(vm sh -c "journalctl --no-pager -o json -n 3 _BOOT_ID=$(cat "$out/boot.$a") 2> /dev/null | wc -l" | tr -d '\r\n')
		[ "${s:-0}" -ge 1 ] || die "the journal has nothing of kernel $a ($(cat "$out/boot.$a"))"
	done
	echo "ok    the journal has entries of all $((n + 1)) kernels"
	a=$(vm date +%s | tr -d '\r\n') d=$(($(date +%s) - a))
	[ "${d#-}" -le 10 ] || die "the clock is $d s off"
	echo "ok    date: $d s off"
}

# Before the first upgrade: what the machine is.
host_remember() {
	vm findmnt -rn -o UUID,FSTYPE / | tr -d '\r\n' > "$out/root"
	vm cat /proc/sys/kernel/random/boot_id | tr -d '\r\n-' > "$out/boot.0"
	vm_release > "$out/first"
	host_units > "$out/units.before"
	cat "$out/units.before"
	host_pinned 'pgrep -x nginx' > "$out/pinned.before"
	cat "$out/pinned.before"
	! grep -v ' active 0 ' "$out/units.before" || die "a unit does not run"
}

# host_upgrade N TO: check, upgrade (by $ENGINE and over the disk at $STATE_ON, if they are set), observe; TO may be "rollback"; $out/upgrade.N.json is the report with the predicted blackout and the units
host_upgrade() {
	local n=$1 to=$2 from image rc=0 words
	from=$(vm_release) image=$(other_image)
	words="upgrade --to $to${ENGINE:+ --engine $ENGINE}${STATE_ON:+ --state-dir $STATE_ON}"
	[ "$to" != rollback ] || { words="rollback --yes"; to=$image; }
	say "upgrade $n: $from -> ${image#/boot/vmlinuz-}"
	echo "# khoctl check --to $to"
	vm khoctl check --to "$to" ${ENGINE:+--engine "$ENGINE"} ${STATE_ON:+--state-dir "$STATE_ON"} || die "check"
	vm khoctl check --to "$to" ${ENGINE:+--engine "$ENGINE"} ${STATE_ON:+--state-dir "$STATE_ON"} --json > "$out/check.$n.json" || die "check --json"
	echo "# khoctl $words"
	# shellcheck disable=SC2086
	vm khoctl $words || rc=$?
	# 250: its kernel retired before the lab had all that it printed; what runs now is looked at below
	[ "$rc" = 0 ] || [ "$rc" = 250 ] || upgrade_died "$n" "$rc"
	host_clients_alive
	wait_alone "${image#/boot/vmlinuz-}"
	observe "$n" "${image#/boot/vmlinuz-}"
	vm khoctl report --json > "$out/report.$n.json" || die "report"
	jq --slurpfile c "$out/check.$n.json" --slurpfile u <(units_json < "$out/units.$n") \
		'. + {predicted_blackout_us: ($c[0] | [.. | objects | .blackout_us? // .predicted_blackout_us? // empty] | first // null), units: $u[0]}' \
		"$out/report.$n.json" > "$out/upgrade.$n.json"
	[ "$(jq -r .to "$out/upgrade.$n.json")" = "${image#/boot/vmlinuz-}" ] || die "report names another kernel"
}

boot_id() { vm cat /proc/sys/kernel/random/boot_id 2> /dev/null | tr -d '\r\n-'; }
# The machine was told to reset itself, or was reset: it comes up again, with the kernel of `lab up`. $1: boot id before
wait_reset() {
	local i id
	for i in $(seq 600); do
		id=$(LAB_WAIT=5 boot_id || true)
		[ -z "$id" ] || [ "$id" = "$1" ] || break
		[ "$i" != 600 ] || die "the machine does not come up again"
		sleep 1
	done
	runs_well "after the reset"
}
# What fsck said of the root when the machine started
root_clean() {
	in_vm 'journalctl -b --no-pager -o cat -u systemd-fsck-root.service; journalctl -b --no-pager -k -o cat -g "EXT4-fs"' > "$out/fsck-boot.txt" || true
	! grep -qaE 'error|UNEXPECTED|[Ii]nconsisten' "$out/fsck-boot.txt" || { cat "$out/fsck-boot.txt"; die "the root file system was not whole"; }
}

# host_fails NAME WHY COMMAND...: exit code 3 because of WHY, and the machine is as in $out/before (host_machine). An emulator that loses
# a CPU of the new kernel makes an earlier step fail; that must be undone as well, and is tried again. The script's ok() counts it.
host_fails() {
	local name=$1 why=$2 rc try
	shift 2
	for try in 1 2 3; do
		rc=0
		vm "$@" > "$out/$name.txt" 2>&1 || rc=$?
		[ "$rc" = 3 ] || { tail -30 "$out/$name.txt"; die "$name: exit code $rc, wanted 3"; }
		host_clients_alive; host_clients_served
		host_machine > "$out/$name.after"
		diff -u "$out/before" "$out/$name.after" || die "$name: the machine is not as it was"
		! grep -q "rolled back: .*$why" "$out/$name.txt" || break
		[ "$try" != 3 ] || die "$name: something else failed: $(tail -n 1 "$out/$name.txt")"
		echo "      $name: undone, but because of $(tail -n 1 "$out/$name.txt" | tr -d '\r'); once more"
		# what a kernel that ended has said, before the next one of its generation says something
		vm khoctl log > "$out/$name.log.$try" 2>&1 || true
	done
	ok "$name: undone ($(tail -n 1 "$out/$name.txt" | tr -d '\r' | cut -c1-110))"
}

# The machine is told to power off, and does; its root file system is clean then ($ROOT: its kind, when it is no plain partition).
host_end() {
	local disk=$top/build/lab/$LAB_NAME/root.img i s rc=0
	case " $SERVICES " in *" web "*)
		vm podman stop -t 3 web > /dev/null || die "podman stop web"
		s=$(vm podman ps -a --filter name=^web$ --format '{{.State}}' | tr -d '\r\n')
		[ -z "$s" ] || die "podman says of the stopped container web: '$s'"
		! vm systemctl is-active -q web || die "web.service is active without its container"
		echo "ok    podman stop: web is gone, its service has ended"
		;;
	esac
	vm systemctl poweroff > /dev/null 2>&1 || true
	for i in $(seq 240); do
		lab status > /dev/null 2>&1 || break
		[ "$i" != 240 ] || die "the machine does not power off"
		sleep 0.5
	done
	lab down
	if [ "${ROOT:-}" ]; then
		"$here/root_image.sh" check "$ROOT" "$disk" "$out/fsck.txt" || die "the disk is not clean"
		echo "ok    powered off; the disk is clean"
		return
	fi
	# shellcheck disable=SC1091
	. "${XDG_CACHE_HOME:-$HOME/.cache}/khoctl/host/env"
	e2fsck -fn "$disk?offset=$HOST_OFFSET" > "$out/fsck.txt" 2>&1 || rc=$?
	[ "$rc" = 0 ] || die "the root file system is not clean: $(tail -n 3 "$out/fsck.txt")"
	echo "ok    powered off; root file system clean"
}
