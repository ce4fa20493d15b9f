# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: GPL-2.0-only
# The rest of t-platform.sh (HOST=all), sourced by it; the machine runs $old, booted by firmware, with khoctl's services enabled.

# begin FAULT: an upgrade that goes as far as FAULT says, in the background
begin() { vm systemd-run -q --unit=lab-upgrade --setenv=KHOCTL_FAULT="$1" khoctl upgrade --yes --to "$(other_image)" || die "begin"; }
# at_step STEP: it has come so far (read by programs that are in memory: the root disk may be away)
at_step() {
	local i
	for i in $(seq 900); do
		! LAB_WAIT=5 vm cat /run/khoctl/lock 2> /dev/null | grep -aq "$1" || return 0
		sleep 0.3
	done
	vm cat /run/khoctl/lock || true
	die "the upgrade does not come to the step $1"
}

# cut_in STEP FAULT WORDS: the reset button is pressed in that step; the next start finds a whole disk and says what was lost
cut_in() {
	local boot
	say "the machine is reset in the middle of an upgrade: $1 ($2)"
	boot=$(boot_id)
	vm sh -ec 'echo "$1" > /var/lib/token; sync; cat /run/khoctl/lock > /dev/null 2>&1 || true' sh "$1"
	begin "$2"
	at_step "$1"
	sleep 3
	lab press reset
	wait_reset "$boot"
	[ "$(vm_release)" = "$old" ] || die "$(vm_release) runs"
	root_clean
	[ "$(in_vm 'cat /var/lib/token')" = "$1" ] || die "a file that was on the disk is gone"
	vm khoctl status --json > "$out/cut.json" || die "khoctl status"
	[ "$(jq -r .state "$out/cut.json")" = rebooted ] || { cat "$out/cut.json"; die "khoctl status does not know of the reset"; }
	jq -r .lost "$out/cut.json" | grep -qE "$3" || { cat "$out/cut.json"; die "khoctl status does not say '$3'"; }
	in_vm 'journalctl -b --no-pager -o cat -u khoctl-resume.service' > "$out/resume.txt"
	has resume.txt "$3"
	host_units > "$out/units.cut"
	! grep -v ' active 0 ' "$out/units.cut" || die "a service does not run after the reset"
	vm khoctl check --to "$(other_image)" > /dev/null || die "no further upgrade is possible"
	ok "reset in $1: disk whole, services run; said: $(jq -r .lost "$out/cut.json" | cut -c1-90)"
}
cut_in precopy precopy:hang 'had not begun to move anything'
cut_in commit commit:hang 'was not committed'
cut_in settle settle:hang 'was committed'

# goes_on END: the upgrade was committed, and the outgoing kernel did not end in order but by END; the new one is the machine
goes_on() {
	local i
	for i in $(seq 300); do
		[ "$(LAB_WAIT=5 vm_release 2> /dev/null)" != "$new" ] || ! vm test -e /run/khoctl/instance.json || break
		[ "$i" != 300 ] || die "$new does not go on"
		sleep 1
	done
	runs_well "on $new, left alone"
	vm cat /run/khoctl/instance.json > "$out/instance.json"
	[ "$(jq -r .outgoing.end "$out/instance.json")" = "$1" ] || { cat "$out/instance.json"; die "it did not end by $1"; }
	vm khoctl status > "$out/status.txt"
	has status.txt 'upgraded'
	host_units > "$out/units.on"
	! grep -v ' active 0 ' "$out/units.on" || die "a service does not run"
	for i in $(seq 60); do
		in_vm dmesg > "$out/dmesg.on"
		! grep -aq 'khoctl: alone' "$out/dmesg.on" || break
		[ "$i" != 60 ] || die "the module does not see that its kernel is alone"
		sleep 1
	done
	in_vm 'cat /proc/consoles' > "$out/consoles"
	has consoles '^ttyS0 .*EC'
}

say "the outgoing kernel panics after the commit"
vm env KHOCTL_FAULT=retire:panic khoctl upgrade --yes --to "$(other_image)" > "$out/late-panic.txt" 2>&1 || true
goes_on panicked
vm khoctl log > "$out/late-panic.log" || die "khoctl log"
has late-panic.log "Linux version ${old//+/.}"
has late-panic.log 'Kernel panic - not syncing: sysrq triggered crash'
ok "the new kernel goes on, and has the log of the panic: $(wc -l < "$out/late-panic.log") lines"
boot=$(boot_id)
vm sh -c 'sync; sysctl -q kernel.panic=2; echo c > /proc/sysrq-trigger' > /dev/null 2>&1 || true
wait_reset "$boot"
root_clean
ok "a panic of that kernel, with kernel.panic=2, resets the machine"

say "the outgoing kernel hangs after the commit"
lab put "$top/build/module/$old/khoctl-hang.ko" /run/khoctl-hang.ko
cat > "$out/hang.sh" <<-'E'
	insmod --version > /dev/null; sleep 0; grep -q . /proc/version # in memory from now on
	until grep -aq retire /run/khoctl/lock; do sleep 0.1; done
	insmod /run/khoctl-hang.ko
E
lab put "$out/hang.sh" /run/hang.sh
vm systemd-run -q sh /run/hang.sh
vm khoctl upgrade --yes --to "$(other_image)" > "$out/late-hang.txt" 2>&1 || true
goes_on silent
boot=$(boot_id)
vm systemctl reboot > /dev/null 2>&1 || true
wait_reset "$boot"
root_clean
ok "the new kernel goes on, has its console, and its reboot resets the machine"

say "an upgrade by the installation of a kernel package; grub's default is the newest kernel"
deb=$(find "${XDG_CACHE_HOME:-$HOME/.cache}/khoctl/apt/debs" -name "linux-image-${new}_*.deb" | head -n 1)
[ -n "$deb" ] || die "no package of $new in the cache"
lab put "$deb" /root/kernel.deb
vm sh -ec 'rm -f /etc/default/grub.d/lab.cfg /var/lib/khoctl/boot-default.before; grub-editenv - unset saved_entry; update-grub 2> /dev/null
	echo "upgrade-on-install = yes" >> /etc/khoctl/khoctl.conf'
vm dpkg -i /root/kernel.deb > "$out/dpkg.txt" 2>&1 || { cat "$out/dpkg.txt"; die "dpkg -i"; }
has dpkg.txt 'update-initramfs'
for i in $(seq 300); do
	[ "$(LAB_WAIT=5 vm_release 2> /dev/null)" != "$new" ] || break
	[ "$i" != 300 ] || { vm journalctl --no-pager -o cat -u 'khoctl-upgrade@*'; die "no upgrade has followed"; }
	sleep 2
done
wait_alone "$new"
runs_well "after the upgrade"
in_vm "journalctl --no-pager -o cat -u 'khoctl-upgrade@*'" > "$out/on-install.txt"
has on-install.txt 'ok +precopy' # (from the freeze on the outgoing kernel's journal is away)
vm khoctl status > "$out/status.txt"
has status.txt 'upgraded'
vm dpkg --audit || die "dpkg is not well"
in_vm 'grub-editenv - list' > "$out/grubenv"
! grep -q saved_entry "$out/grubenv" || die "grub's default was changed although it starts $new anyway"
ok "dpkg -i has led to $new; grub starts it anyway"

say "back: $new -> $old; grub's default follows, by a drop-in of khoctl's"
up
in_vm 'cat /etc/default/grub.d/khoctl.cfg'
grub_starts "$old"
ok "back on $old, which grub starts from now on"

say "the same machine with systemd-boot: entries that kernel-install writes here, and what they start"
deb=$("$here/cache.sh" package systemd-boot-tools 2> /dev/null | tail -n 1) || die "package systemd-boot-tools"
lab put "${XDG_CACHE_HOME:-$HOME/.cache}/khoctl/apt/debs/${deb##*/}.deb" /root/boot-tools.deb
# shellcheck disable=SC2016
vm sh -ec 'dpkg -i /root/boot-tools.deb; sed -i /upgrade-on-install/d /etc/khoctl/khoctl.conf; rm -f /var/lib/khoctl/boot-default.before
	mkdir -p /boot/efi; mount -t tmpfs esp /boot/efi; mv /boot/grub/grub.cfg /root/
	printf "layout=bls\nBOOT_ROOT=/boot/efi\n" > /etc/kernel/install.conf
	for r in "$@"; do kernel-install --verbose --make-entry-directory=yes add "$r" "/boot/vmlinuz-$r"; done
	printf "timeout 3\ndefault %s-*\n" "$(cat /etc/machine-id)" > /boot/efi/loader/loader.conf' sh "$old" "$new" > "$out/kernel-install.txt" 2>&1 ||
	{ tail -n 20 "$out/kernel-install.txt"; die "kernel-install"; }
has kernel-install.txt 'install.d/95-khoctl.install add'
in_vm 'cat /boot/efi/loader/entries/*; cat /proc/cmdline' > "$out/entries"
# as the lab, which is the loader here, has started the machine
[ "$(grep -cE '^options +console=ttyS0 .*root=UUID=[^ ]+ ro.* systemd.machine_id=' "$out/entries")" = 2 ] || { cat "$out/entries"; die "the entries have other options"; }
! grep -E '^options .*(rdinit|maxcpus)=' "$out/entries" || die "the entries have the options of a kernel of khoctl's"
# what bootctl takes for the default
bootctl_says() {
	in_vm 'SYSTEMD_RELAX_ESP_CHECKS=1 bootctl --no-pager --esp-path=/boot/efi list' > "$out/bootctl"
	[ "$(awk '/^ *title:/ { on = /\(default\)/ } on && $1 == "version:" { print $2 }' "$out/bootctl")" = "$1" ] || { cat "$out/bootctl"; die "$1 is not the default"; }
}
bootctl_says "$new"
vm systemctl restart khoctl-settled.service || die "khoctl-settled.service"
bootctl_says "$old"
vm /usr/lib/khoctl/boot-default "$new" || die "boot-default"
bootctl_says "$new"
in_vm 'cat /boot/efi/loader/loader.conf; umount /boot/efi; mv /root/grub.cfg /boot/grub/' > "$out/loader.conf"
has loader.conf '^default [0-9a-f]{32}-\*$'
ok "kernel-install's entries start as the machine was started; systemd-boot's default follows, and what it was comes back"

say "the power button, on a kernel that khoctl has started"
lab press power
for i in $(seq 240); do
	lab status > /dev/null 2>&1 || break
	[ "$i" != 240 ] || die "the power button does nothing"
	sleep 1
done
ok "the power button turns the machine off"
