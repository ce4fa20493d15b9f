# shellcheck shell=bash
# What the benches have in common that take the time of a kernel's replacement from outside: who asks, the longest silence, and the floors. Sourced
# after tests/vm/e2e.sh.

# From outside: a new connection and a PING whenever the last one was answered or given up; the time of each answer, in microseconds.
asks() {
	# shellcheck disable=SC2016
	ip netns exec "khoctl-lab-$LAB_NAME" bash -c '
		while :; do
			if timeout 1 bash -c "exec 3<> /dev/tcp/$0/6379; printf \"PING\\r\\n\" >&3; IFS= read -r l <&3; [[ \$l == +PONG* ]]" 2> /dev/null; then
				echo "${EPOCHREALTIME/./}"
			fi
			sleep 0.05
		done' "$(lab status --address)"
}
longest_gap() { awk 'NR > 1 && $1 - last > gap { gap = $1 - last } { last = $1 } END { print gap + 0 }' "$1"; }

# way_json WAY: its silence, and the kernel that runs now, into way.WAY.json
way_json() {
	jq -n --arg way "$1" --arg kernel "$(vm_release)" --argjson us "$(longest_gap "$out/$1.answers")" '{way: $way, kernel: $kernel, silent_us: $us}' |
		tee "$out/way.$1.json"
}

# restore_floor MIB: microseconds that criu restore takes of a redis with so much in it, on this one kernel, into restore.floor. (The machine's own
# is a unit, with name spaces that criu alone does not know; this one is of no unit.)
restore_floor() {
	local i
	vm sh -c 'mkdir -p /var/tmp/floor && exec setsid redis-server --port 6390 --save "" --appendonly no --dir /var/tmp/floor --daemonize yes \
		--pidfile /run/floor.pid --enable-debug-command yes > /dev/null' || die "a redis for the floor"
	for i in $(seq 50); do
		[ "$(vm redis-cli -p 6390 ping 2> /dev/null | tr -d '\r\n')" != PONG ] || break
		[ "$i" -lt 50 ] || die "the redis for the floor does not answer"
		sleep 0.2
	done
	vm redis-cli -p 6390 eval 'for i = 1, ARGV[1] do redis.call("set", "filler:" .. i, string.rep("x", 1000)) end' 0 $(($1 * 1024)) > /dev/null
	lab put "$top/tests/vm/floor.sh" /var/tmp/floor.sh
	vm sh /var/tmp/floor.sh /run/floor.pid > "$out/floor.txt" || { cat "$out/floor.txt"; die "criu dump and restore of the redis for the floor"; }
	sed -n 's/^restore_us *//p' "$out/floor.txt" | tr -d '\r' > "$out/restore.floor"
	[ -s "$out/restore.floor" ] || die "no time of the restore"
	vm redis-cli -p 6390 shutdown nosave > /dev/null 2>&1 || true
}

# boot_floor IMAGE: microseconds from reboot(2) here to the first process there, with the smallest initramfs there can be, into boot.floor; kexec-tools
# are in the machine, and it may reset itself: it comes up again as by `lab up`. Whatever writes has been stopped.
boot_floor() {
	local i log=$top/build/lab/$LAB_NAME/outgoing.log at
	rm -rf "$out/floor.root"
	install -D -m 755 "$top/build/tests/vm/boot_floor" "$out/floor.root/init"
	(cd "$out/floor.root" && echo init | cpio -o -H newc --quiet -R 0:0) > "$out/floor.cpio"
	lab put "$out/floor.cpio" /var/tmp/floor.cpio
	lab put "$out/floor.root/init" /var/tmp/boot_floor
	vm /sbin/kexec -s -l "$1" --initrd=/var/tmp/floor.cpio --reuse-cmdline || die "kexec -l"
	at=$(stat -c %s "$log")
	# (the file systems are made read-only: the machine is reset from over there)
	LAB_WAIT=20 vm sh -c 'sync; echo u > /proc/sysrq-trigger; sleep 2; exec /var/tmp/boot_floor go' > "$out/boot_floor.txt" 2>&1 || true
	for i in $(seq 120); do
		tail -c "+$((at + 1))" "$log" | tr -d '\r' | grep -aoE 'boot-floor: (down|up) [0-9]+.*' > "$out/boot_floor.log" || true
		! grep -q ' up ' "$out/boot_floor.log" || break
		[ "$i" -lt 120 ] || { cat "$out/boot_floor.txt" "$out/boot_floor.log"; tail -n 20 "$log"; die "the kernel with the smallest initramfs did not come up"; }
		sleep 1
	done
	awk '$2 == "down" { down = $3; khz = $4 } $2 == "up" { printf "%d\n", ($3 - down) * 1000 / khz; exit }' "$out/boot_floor.log" > "$out/boot.floor"
	[ "$(cat "$out/boot.floor")" -gt 0 ] || die "no time of the boot: $(cat "$out/boot_floor.log")"
}

# kexec-tools, and the libraries of Xen that Debian links it with, in packages of which one has Xen's version in its name
kexec_packages() {
	local xen
	xen=$(readelf -d "$("$here/cache.sh" package kexec-tools | tail -n 1)/usr/sbin/kexec" | sed -n 's/.*NEEDED.*\[libxenctrl\.so\.\(.*\)\]/\1/p')
	echo kexec-tools ${xen:+libxenmisc$xen libxencall1 libxendevicemodel1 libxenevtchn1 libxenforeignmemory1 libxengnttab1 libxentoolcore1 libxentoollog1}
}
