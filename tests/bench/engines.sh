#!/usr/bin/env bash
# One Debian machine with redis as a unit, in one run: how long nobody answers from outside when its kernel is replaced by each way there is.
#   reboot   systemctl reboot: firmware, kernel, systemd, redis loads its data
#   plain    kexec-tools' kexec -l, systemctl kexec: the same without the firmware
#   kexec    khoctl upgrade --engine kexec
#   disk     khoctl upgrade --engine kexec --state-dir, on the root disk
#   host     the same as kexec, the host's initramfs in front (`initramfs = host`)
#   beside   khoctl upgrade
# The floor of kexec: the same kernel by kexec-tools with nothing but one program in its initramfs, from reboot(2) to that, and criu restore of a redis
# with as much in it. Ratios into build/bench-engines/report.json. No assertion on times.
set -euo pipefail
LABNAME=bench-engines
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/../vm/e2e.sh"
SERVICES=redis
# shellcheck source=tests/vm/e2e_host.sh
. "$(dirname "$0")/../vm/e2e_host.sh"
# shellcheck source=tests/bench/ways.sh
. "$(dirname "$0")/ways.sh"
export CPUS=4
MIB=${MIB:-64}
watcher=
trap 'lab down > /dev/null 2>&1 || true; host_clients_kill; [ -z "$watcher" ] || kill "$watcher" 2> /dev/null || true' EXIT

# replaced WAY COMMAND...: the machine's kernel, by that; then redis answers again and the longest silence is WAY's
replaced() {
	local way=$1 i n id boot
	shift
	boot=$(boot_id)
	asks > "$out/$way.answers" & watcher=$!
	sleep 3
	echo "# $*"
	vm "$@" > "$out/$way.txt" 2>&1 || true
	for i in $(seq 300); do
		n=$(wc -l < "$out/$way.answers")
		sleep 1
		id=$(LAB_WAIT=5 boot_id || true)
		[ -z "$id" ] || [ "$id" = "$boot" ] || [ "$(wc -l < "$out/$way.answers")" -le "$n" ] || break
		[ "$i" -lt 300 ] || { tail -n 30 "$out/$way.txt"; die "$way: redis does not answer any more"; }
	done
	sleep 3
	kill "$watcher"; wait "$watcher" 2> /dev/null || true
	watcher=
	runs_well "after $way"
	way_json "$way"
}

# kexec-tools, and what Debian links it with
programs() {
	local p folder
	for p in $(kexec_packages); do
		folder=$("$here/cache.sh" package "$p" | tail -n 1)
		tar -C "$folder" --exclude=./usr/share -cf "$out/package.tar" .
		lab put "$out/package.tar" /var/tmp/package.tar
		vm tar -C / --keep-directory-symlink --no-same-owner -xf /var/tmp/package.tar
	done
	vm rm /var/tmp/package.tar
}
rm -f "$out"/way.*.json
lab down > /dev/null 2>&1 || true
lab up --host --cpus "$CPUS" --mem 4096
lab may-reset
runs_well "before anything is done"
host_list
vm redis-cli eval 'for i = 1, ARGV[1] do redis.call("set", "filler:" .. i, string.rep("x", 1000)) end' 0 $((MIB * 1024)) > /dev/null
vm redis-cli save > /dev/null
programs
vm /sbin/kexec --version > /dev/null || die "kexec-tools do not run"

restore_floor "$MIB"

# (a kernel that was started beside another one cannot be replaced by kexec: beside is the last)
to=$(other_image)
replaced kexec khoctl upgrade --to "$to" --engine kexec
vm khoctl report --json > "$out/report.kexec.json"
vm mkdir -m 700 /srv/state
replaced disk khoctl upgrade --to "$(other_image)" --engine kexec --state-dir /srv/state
# from the same kernel to the same one as kexec's; the machine resets itself over there, and has the first kernel again
vm systemctl stop redis-server
boot=$(boot_id)
boot_floor "$to"
wait_reset "$boot"
vm /sbin/kexec -s -l "$to" "--initrd=/boot/initrd.img-${to#/boot/vmlinuz-}" --reuse-cmdline
replaced plain systemctl kexec
replaced reboot systemctl reboot
vm sh -c "echo 'initramfs = host' >> /etc/khoctl/khoctl.conf"
replaced host khoctl upgrade --to "$to" --engine kexec
vm sed -i '/^initramfs = host$/d' /etc/khoctl/khoctl.conf
boot=$(boot_id)
vm systemctl reboot > /dev/null 2>&1 || true
wait_reset "$boot"
replaced beside khoctl upgrade --to "$to"
lab down

jq -s --argjson boot "$(cat "$out/boot.floor")" --argjson restore "$(cat "$out/restore.floor")" \
	'map({(.way): .silent_us}) | add as $w | ($boot + $restore) as $floor | {silent_us: $w, floor_us: {boot: $boot, restore: $restore},
	ratios: {kexec_over_plain: ($w.kexec / $w.plain), host_over_plain: ($w.host / $w.plain), disk_over_plain: ($w.disk / $w.plain),
		kexec_over_floor: ($w.kexec / $floor), host_over_floor: ($w.host / $floor),
		kexec_over_reboot: ($w.kexec / $w.reboot), kexec_over_beside: ($w.kexec / $w.beside),
		beside_over_reboot: ($w.beside / $w.reboot)} | map_values(. * 1000 | round / 1000)}' "$out"/way.*.json | tee "$out/report.json"
