#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The Debian machine as a platform: khoctl's services installed and enabled as docs/upgrade-guide.md says; after an upgrade the clock and
# what NTP knows of it, randomness, console, hardware clock, the log of the kernel before, the boot loader's default; reboot of the
# kernel that stays. HOST=all (make test-host): also an upgrade that the installation of a kernel package starts, a reset of the machine
# in the middle of one, and panics on either side.
set -euo pipefail
LABNAME=${LAB_NAME:-platform}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
SERVICES=${SERVICES:-redis}
# shellcheck source=tests/vm/e2e_host.sh
. "$(dirname "$0")/e2e_host.sh"
export CPUS=4
trap 'lab down > /dev/null 2>&1 || true' EXIT

# grub_starts RELEASE: what grub.cfg does with the saved entry is to start RELEASE
grub_starts() {
	local id title
	in_vm 'grub-editenv list' > "$out/grubenv"
	id=$(sed -n 's/^saved_entry=//p' "$out/grubenv")
	[ -n "$id" ] || { cat "$out/grubenv"; die "grub has no saved entry"; }
	in_vm 'cat /boot/grub/grub.cfg' > "$out/grub.cfg"
	grep -qF 'set default="${saved_entry}"' "$out/grub.cfg" || die "grub.cfg does not look at the saved entry"
	title=${id##*>}
	[ "$(awk -v id="'$title'" 'index($0, id) && /menuentry / { on = 1 } on && $1 == "linux" { print $2; exit }' "$out/grub.cfg")" = "/boot/vmlinuz-$1" ] ||
		die "the entry $id does not start $1"
	[ "${id#*>}" = "$id" ] || grep -qF "'${id%%>*}'" "$out/grub.cfg" || die "grub.cfg has no submenu ${id%%>*}"
	! grep -q /dev/mapper/khoctl "$out/grub.cfg" || die "grub.cfg names a device that is not there after a restart"
	echo "ok    grub starts $1: $id"
}

# The units as the guide has them, and a menu of grub's.
install() {
	local units
	units=$(sed -n 's/.*`systemctl enable --now \(khoctl[^`]*\)`.*/\1/p' "$top/docs/upgrade-guide.md")
	[ -n "$units" ] || die "the guide enables nothing"
	# shellcheck disable=SC2086
	vm systemctl enable --now $units > /dev/null 2>&1 || die "systemctl enable"
	vm test -e /dev/khoctl || die "khoctl.service has not loaded the module"
	# somebody has chosen what runs now
	vm sh -ec 'echo GRUB_DEFAULT=saved > /etc/default/grub.d/lab.cfg; update-grub' > "$out/update-grub.txt" 2>&1 || { cat "$out/update-grub.txt"; die "update-grub"; }
	in_vm "sed -n \"s/.*'\\(gnulinux-$old-advanced-[^']*\\)' *{.*/\\1/p\" /boot/grub/grub.cfg" > "$out/entry"
	in_vm "sed -n \"s/.*'\\(gnulinux-advanced-[^']*\\)' *{.*/\\1/p\" /boot/grub/grub.cfg" > "$out/submenu"
	vm grub-set-default "$(cat "$out/submenu")>$(cat "$out/entry")"
	grub_starts "$old"
	vm sh -c 'systemctl start khoctl-check.service; journalctl -u khoctl-check --no-pager -o cat' > "$out/check.txt" || die "khoctl-check.service"
	has check.txt '^(can|cannot|verdict|ok|.*upgrade)'
	ok "installed, enabled ($units); khoctl-check.service: $(grep -c . "$out/check.txt") lines in the journal"
}

# --- clock ---

# two points of the clock's line, N seconds apart, appended to clock.$1
clock_line() {
	vm /usr/lib/khoctl-lab/clockline | tr -d '\r' >> "$out/clock.$1"
	sleep 8
	vm /usr/lib/khoctl-lab/clockline | tr -d '\r' >> "$out/clock.$1"
}
# clock_judge: step at the change of kernels (microseconds) and rates (parts per million) on both sides, from the points before and after
clock_judge() {
	cat "$out/clock.before" "$out/clock.after" | awk '
		NR == 1 { t0 = $1; n0 = $2 }
		{ t[NR] = $1 - t0; n[NR] = $2 - n0 }
		END {
			b = (n[2] - n[1]) / (t[2] - t[1]); a = (n[4] - n[3]) / (t[4] - t[3])
			# half of the way at one rate, half at the other: what is left is the step
			mid = (t[2] + t[3]) / 2
			step = n[3] - n[2] - b * (mid - t[2]) - a * (t[3] - mid)
			printf "step_us=%d drift_ppm=%.2f ns_per_tick=%.6f\n", step / 1000, (a / b - 1) * 1e6, b
		}' > "$out/clock.json"
	cat "$out/clock.json"
}
# The time outside, to within seconds: an hour would be a zone taken for another
right_time() {
	local d
	d=$(($(date +%s) - $(in_vm 'date +%s')))
	abs_below "$d" 20 || die "the clock is $d s off the time outside"
}
abs_below() { awk -v v="$1" -v max="$2" 'BEGIN { if (v < 0) v = -v; exit v > max }'; }

# --- the machine ---

# An upgrade to the other kernel, to the end
up() {
	local image
	image=$(other_image)
	vm khoctl upgrade --yes --to "$image" > "$out/upgrade.txt" 2>&1 || { tail -n 30 "$out/upgrade.txt"; die "upgrade"; }
	wait_alone "${image#/boot/vmlinuz-}"
	runs_well "after the upgrade"
}

lab down > /dev/null 2>&1 || true
lab up --host --cpus 4 --mem 4096
lab put "$top/build/tests/vm/clockline" /usr/lib/khoctl-lab/clockline
lab may-reset
runs_well "before anything is done"
old=$(vm_release) image=$(other_image); new=${image#/boot/vmlinuz-}
install
host_list

say "an incoming kernel that panics before the commit leaves its words"
rc=0
vm env KHOCTL_FAULT=probe.after:peer-panic khoctl upgrade --yes --to "$image" --cmdline khoctl.fault=1 > "$out/panic.txt" 2>&1 || rc=$?
[ "$rc" = 3 ] || { tail -n 20 "$out/panic.txt"; die "exit code $rc, wanted 3"; }
has panic.txt 'the incoming kernel has panicked; its last message: .*(panic|sysrq)'
vm khoctl log > "$out/panic.log" || die "khoctl log"
has panic.log 'Linux version '"${new//+/.}"
has panic.log 'Kernel panic - not syncing: sysrq triggered crash'
ok "its last message in the error, $(wc -l < "$out/panic.log") lines by khoctl log"

say "clock, and what NTP has told the kernel"
# a hardware clock in local time, one hour east; a daemon that has found the oscillator 20 ppm slow
vm sh -c 'printf "0.0 0 0.0\n0\nLOCAL\n" > /etc/adjtime; ln -sf /usr/share/zoneinfo/Etc/GMT-1 /etc/localtime'
vm /usr/lib/khoctl-lab/clockline ntp zone=-60 status=0x2001 freq=1310720 constant=6 maxerror=12345 esterror=678 tai=37 > /dev/null || die "adjtimex"
vm sysctl -q kernel.panic=7
rm -f "$out"/clock.*
clock_line before
in_vm '/usr/lib/khoctl-lab/clockline ntp' > "$out/ntp.before"
vm cat /sys/devices/system/clocksource/clocksource0/current_clocksource
boot=$(boot_id)
echo "$boot" > "$out/boot.0"
in_vm 'sed -n "s/^microcode[^:]*: *//p" /proc/cpuinfo | sort | uniq -c' > "$out/microcode.before"

say "upgrade $old -> $new"
up
clock_line after
in_vm '/usr/lib/khoctl-lab/clockline ntp' > "$out/ntp.after"
clock_judge
eval "$(cat "$out/clock.json")"
# shellcheck disable=SC2154
abs_below "$step_us" 2000 || die "the clock was moved by $step_us us"
# shellcheck disable=SC2154
abs_below "$drift_ppm" 40 || die "the clock runs $drift_ppm ppm off what it did"
right_time
diff -u <(head -n 1 "$out/ntp.before") <(head -n 1 "$out/ntp.after") || die "NTP's state or the zone was not carried"
! grep -q 'maxerror=16000000' "$out/ntp.after" || die "the clock counts as unsynchronized"
ok "clock: step $step_us us, drift $drift_ppm ppm; NTP state and zone carried: $(head -n 1 "$out/ntp.after")"

say "randomness, console, hardware clock, microcode, log"
in_vm 'dmesg' > "$out/dmesg"
awk '/random: crng init done/ && !seed { seed = NR } /Run \/init as init process/ && !init { init = NR } END { exit !(seed && init && seed < init) }' "$out/dmesg" ||
	die "the random generator was not ready when the first process ran"
[ "$(in_vm 'cat /sys/kernel/boot_params/setup_data/0/type')" = 0x9 ] || die "no seed was handed over"
[ -z "$(in_vm 'tr -d "\0" < /sys/kernel/boot_params/setup_data/0/data')" ] || die "the seed still lies there"
[ "$(boot_id)" != "$boot" ] || die "both kernels have the same boot id"
ok "random: ready before the first process ran; the seed is wiped"
in_vm 'cat /proc/consoles; echo said by hand > /dev/ttyS0; echo "<3>said by the kernel" > /dev/kmsg' > "$out/consoles"
has consoles '^ttyS0 .*EC'
sleep 2
lab log outgoing > "$out/com1"
has com1 'said by hand'
has com1 'said by the kernel'
# (there is one while the port is open: by getty)
in_vm 'for i in $(seq 60); do grep ttyS0 /proc/interrupts && break; sleep 1; done' > "$out/interrupts"
[ -s "$out/interrupts" ] || die "the serial port is polled"
awk '{ for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) n += $i } END { exit !n }' "$out/interrupts" || die "no interrupt of the serial port came: $(cat "$out/interrupts")"
ok "console: $(grep -a ttyS0 "$out/consoles"); interrupts: $(tr -s ' ' < "$out/interrupts")"
in_vm 'cat /sys/class/rtc/rtc0/name; cat /sys/class/rtc/rtc0/since_epoch; date +%s' > "$out/rtc"
# the zone is an hour east, and the hardware clock holds local time once the kernel has written it
awk 'NR == 2 { r = $1 } NR == 3 { d = r - $1; ok = (d > -5 && d < 5) || (d > 3595 && d < 3605); print "rtc - system: " d " s" } END { exit !ok }' "$out/rtc" ||
	die "the hardware clock is wrong: $(tr '\n' ' ' < "$out/rtc")"
ok "hardware clock: $(tr '\n' ' ' < "$out/rtc")"
in_vm 'sed -n "s/^microcode[^:]*: *//p" /proc/cpuinfo | sort | uniq -c' > "$out/microcode.after"
diff "$out/microcode.before" "$out/microcode.after" || die "microcode revisions differ"
ok "microcode: revision$(awk '{ print " " $2 }' "$out/microcode.after") on all CPUs, as before"
vm khoctl log > "$out/retired.log" || die "khoctl log"
has retired.log "Linux version ${old//+/.}"
has retired.log 'retiring: the last CPU'
ok "log of the retired kernel: $(wc -l < "$out/retired.log") lines"

say "services in the new kernel"
in_vm 'systemctl is-active khoctl.service khoctl-settled.service khoctl-check.timer; systemctl show -P Result khoctl.service khoctl-settled.service;
	systemctl show -P ConditionResult khoctl-resume.service' > "$out/services"
[ "$(tr '\n' ' ' < "$out/services")" = "active active active success  success no " ] ||
	[ "$(grep -v '^$' "$out/services" | tr '\n' ' ')" = "active active active success success no " ] || { cat "$out/services"; die "services"; }
grub_starts "$new"
ok "khoctl.service, khoctl-settled.service, khoctl-check.timer; khoctl-resume.service has nothing to do"

say "reboot of the kernel that stays"
boot=$(boot_id)
echo "$boot" > "$out/boot.1"
in_vm 'dmesg' | grep -a 'khoctl: alone.*panic=7' || die "the module does not know that it is alone, or what kernel.panic was"
[ "$(in_vm 'cat /proc/sys/kernel/panic')" = 7 ] || die "kernel.panic is $(in_vm 'cat /proc/sys/kernel/panic'), it was 7"
vm systemctl reboot > /dev/null 2>&1 || true
wait_reset "$boot"
[ "$(vm_release)" = "$old" ] || die "$(vm_release) runs"
root_clean
right_time
for b in 0 1; do
	[ "$(in_vm "journalctl --no-pager -q -o cat -n 3 _BOOT_ID=$(cat "$out/boot.$b") | wc -l")" -ge 1 ] || die "the journal has nothing of boot $b"
done
in_vm "journalctl --no-pager -q -o cat _BOOT_ID=$boot -n 30" > "$out/journal.reboot"
has journal.reboot '(Reached target reboot|Rebooting|System is rebooting|Journal stopped)'
vm khoctl status > "$out/status.txt"
has status.txt 'upgraded'
grub_starts "$new" # (the lab starts its kernel itself)
ok "the machine was reset and is up again; journal: both kernels and the reboot; $(tail -n 1 "$out/fsck-boot.txt")"

if [ "${HOST:-}" = all ]; then
	# shellcheck source=tests/vm/t-platform-all.sh
	. "$here/t-platform-all.sh"
fi
host_end
ok "powered off; root file system clean"
echo "$passed passed, 0 failed"
