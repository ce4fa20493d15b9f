#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# integration/boot-default on recorded boot partitions: a grub.cfg as Debian's grub-mkconfig writes it, and systemd-boot's files.
# shellcheck source=tests/cli/tap.sh
. "$(dirname "$0")/tap.sh"
boot_default=$top/integration/boot-default
root=$tmp/root
mkdir -p "$root/boot/grub" "$root/etc/khoctl" "$root/var/lib/khoctl"
old=6.12.107+deb13-amd64 new=7.3.4+deb13-amd64 uuid=0f-1a
ours_old="gnulinux-advanced-$uuid>gnulinux-$old-advanced-$uuid"

entry() { # ID-SUFFIX RELEASE
	printf "\tmenuentry 'Debian GNU/Linux, with Linux %s' --class debian \$menuentry_id_option 'gnulinux-%s-%s-%s' {\n" "$2" "$2" "$1" "$uuid"
	printf "\t\tload_video\n\t\tif [ x\$feature_platform_search_hint = xy ]; then\n\t\t  search --no-floppy --fs-uuid --set=root %s\n\t\tfi\n" "$uuid"
	printf "\t\techo\t'Loading Linux %s ...'\n\t\tlinux\t/boot/vmlinuz-%s root=UUID=%s ro quiet\n\t\tinitrd\t/boot/initrd.img-%s\n\t}\n" "$2" "$2" "$uuid" "$2"
}
grub_cfg() { # DEFAULT: 0 or ${saved_entry}; newest kernel first
	printf 'if [ -s $prefix/grubenv ]; then\n  set have_grubenv=true\n  load_env\nfi\nif [ "${next_entry}" ] ; then\n   set default="${next_entry}"\nelse\n   set default="%s"\nfi\n' "$1"
	printf 'function recordfail {\n  set recordfail=1\n}\n'
	printf "menuentry 'Debian GNU/Linux' --class debian \$menuentry_id_option 'gnulinux-simple-%s' {\n\tlinux\t/boot/vmlinuz-%s root=UUID=%s ro quiet\n}\n" "$uuid" "$new" "$uuid"
	printf "submenu 'Advanced options for Debian GNU/Linux' \$menuentry_id_option 'gnulinux-advanced-%s' {\n" "$uuid"
	for r in "$new" "$old"; do entry advanced "$r"; entry recovery "$r"; done
	printf "}\nmenuentry 'Memory test' {\n\tlinux16 /boot/memtest86+.bin\n}\n"
}
# saved ENTRY NAME: the default that grub will start ("": none is saved)
saved() {
	local now
	now=$(grub-editenv "$root/boot/grub/grubenv" list 2>&1 | sed -n 's/^saved_entry=//p')
	[ "$now" = "$1" ] || echo "# saved_entry=$now"
	result "$([ "$now" = "$1" ]; echo $?)" "$2"
}
said() { result "$(grep -qF -- "$1" "$tmp/out"; echo $?)" "$2"; }

export PATH=$PATH:/usr/sbin
if command -v grub-editenv > /dev/null; then
	grub_cfg '${saved_entry}' > "$root/boot/grub/grub.cfg"
	exits 0 "the newest is the default already" "$boot_default" --root "$root" "$new"
	said "starts $new already" "the newest is the default already: said"
	exits 1 "nothing was written" test -e "$root/boot/grub/grubenv"
	exits 0 "an older one won" "$boot_default" --root "$root" "$old"
	saved "$ours_old" "its entry, not the one for recovery"
	exits 0 "once more" "$boot_default" --root "$root" "$old"
	said "starts $old already" "once more: nothing to do"
	exits 0 "back to the newest" "$boot_default" --root "$root" "$new"
	saved "" "what was before is back: nothing was saved"
	exits 1 "and nothing is kept" test -e "$root/var/lib/khoctl/boot-default.before"

	grub-editenv "$root/boot/grub/grubenv" set "saved_entry=gnulinux-$old-advanced-$uuid"
	exits 0 "somebody's own choice, by id alone" "$boot_default" --root "$root" "$old"
	said "starts $old already" "it is understood"
	exits 0 "an upgrade away from it" "$boot_default" --root "$root" "$new"
	saved "gnulinux-advanced-$uuid>gnulinux-$new-advanced-$uuid" "it follows"
	exits 0 "and back" "$boot_default" --root "$root" "$old"
	saved "gnulinux-$old-advanced-$uuid" "the choice is put back as it was"

	rm "$root/boot/grub/grubenv"
	grub_cfg 0 > "$root/boot/grub/grub.cfg"
	cat > "$tmp/update-grub" <<-E
		#!/bin/sh
		grep -qx GRUB_DEFAULT=saved "$root/etc/default/grub.d/khoctl.cfg" && cp "$tmp/saved.cfg" "$root/boot/grub/grub.cfg"
	E
	chmod +x "$tmp/update-grub"
	grub_cfg '${saved_entry}' > "$tmp/saved.cfg"
	exits 0 "a fixed default" env UPDATE_GRUB="$tmp/update-grub" "$boot_default" --root "$root" "$old"
	saved "$ours_old" "a fixed default: GRUB_DEFAULT=saved first"
	exits 1 "no such kernel" "$boot_default" --root "$root" 9.9.9
	says 'no entry that starts 9\.9\.9' "no such kernel: said"
	echo 'boot-default = no' > "$root/etc/khoctl/khoctl.conf"
	exits 0 "not wanted" "$boot_default" --root "$root" "$new"
	saved "$ours_old" "not wanted: left alone"
	rm "$root/etc/khoctl/khoctl.conf"
else
	echo "# grub-editenv is not installed: grub is skipped"
	[ -z "${KHOCTL_MUST_WORK:-}" ] || exits 0 "grub-editenv is there" command -v grub-editenv
fi

rm -rf "$root/boot/grub" "$root/var/lib/khoctl"
esp=$root/boot/efi conf=$root/boot/efi/loader/loader.conf
mkdir -p "$esp/loader/entries"
# as kernel-install writes them, with a counter of tries
loader_entry() { # DIR RELEASE [COUNTER]
	printf 'title      Debian GNU/Linux 13 (trixie)\nversion    %s\nmachine-id %s\nsort-key   debian\noptions    root=UUID=%s ro\nlinux      /debian/%s/linux\n' \
		"$2" 00112233445566778899aabbccddeeff "$uuid" "$2" > "$1/loader/entries/debian-$2${3-}.conf"
	mkdir -p "$1/debian/$2"; : > "$1/debian/$2/linux"
}
loader_conf() { [ "$(cat "$conf")" = "$(printf "$1")" ] || sed 's/^/# /' "$conf"; result "$([ "$(cat "$conf")" = "$(printf "$1")" ]; echo $?)" "$2"; }
# starts RELEASE: systemd's own bootctl says so, too (where it is there)
starts() {
	command -v bootctl > /dev/null || { echo "# bootctl is not installed: it is not asked"; return 0; }
	local user=--map-root-user
	[ "$(id -u)" != 0 ] || user=
	# (it wants a mount point)
	SYSTEMD_RELAX_ESP_CHECKS=1 unshare $user --mount sh -c 'mount --bind "$1" "$1" && bootctl --no-pager --esp-path="$1" list' sh "$esp" \
		> "$tmp/list" 2>&1 || true
	exits 0 "bootctl: $1 is the default" awk -v r="$1" '/^ *title:/ { on = /\(default\)/ } on && $1 == "version:" { found = $2 } END { print found; exit found != r }' "$tmp/list"
}
loader_entry "$esp" "$old" +3; loader_entry "$esp" "$new" +2-1
printf 'timeout 3\ndefault debian-*\n' > "$conf"
starts "$new"
exits 0 "systemd-boot: the newest is what the pattern starts" "$boot_default" --root "$root" "$new"
loader_conf 'timeout 3\ndefault debian-*\n' "systemd-boot: the pattern stays"
exits 0 "systemd-boot: an older one won" "$boot_default" --root "$root" "$old"
loader_conf "timeout 3\ndefault debian-$old.conf\n" "systemd-boot: the entry without its counter, other lines stay"
starts "$old"
exits 0 "systemd-boot: once more" "$boot_default" --root "$root" "$old"
said "starts $old already" "systemd-boot: once more: nothing to do"
exits 0 "systemd-boot: back to the newest" "$boot_default" --root "$root" "$new"
loader_conf 'timeout 3\ndefault debian-*\n' "systemd-boot: the pattern is back"
starts "$new"
exits 1 "and nothing is kept" test -e "$root/var/lib/khoctl/boot-default.before"
exits 1 "systemd-boot: no such kernel" "$boot_default" --root "$root" 9.9.9
printf 'timeout 3\n' > "$conf"
exits 0 "systemd-boot: no default line" "$boot_default" --root "$root" "$old"
loader_conf "timeout 3\ndefault debian-$old.conf\n" "systemd-boot: it gets one"
exits 0 "systemd-boot: back" "$boot_default" --root "$root" "$new"
loader_conf 'timeout 3\n' "systemd-boot: and loses it"
mv "$esp/loader/entries/debian-$new+2-1.conf" "$esp/loader/entries/debian-$new+0-3.conf"
starts "$old"
exits 0 "systemd-boot: the newest has no tries left" "$boot_default" --root "$root" "$old"
said "starts $old already" "systemd-boot: so the older one starts"
# an entry that kernel-install has written on a kernel of khoctl's
export KERNEL_INSTALL_LAYOUT=bls KERNEL_INSTALL_BOOT_ROOT=$esp KERNEL_INSTALL_ENTRY_TOKEN=debian KHOCTL_ROOT=$root
hook() { "$top/integration/zz-khoctl" add "$old" "$esp/debian/$old" /boot/vmlinuz; }
options() { exits 0 "$2" test "$(sed -n 's/^options *//p' "$esp/loader/entries/debian-$old+3.conf")" = "$1"; }
entry_by_kernel_install() { sed -i "s/^options .*/options    maxcpus=1 pci=off rdinit=\/init${1-}/" "$esp/loader/entries/debian-$old+3.conf"; }
entry_by_kernel_install
exits 0 "kernel-install's plugin" hook
options 'maxcpus=1 pci=off rdinit=/init' "on a kernel that the boot loader started the entry stays"
mkdir -p "$root/run/khoctl"; : > "$root/run/khoctl/instance.json"
exits 0 "kernel-install's plugin without what was booted by" hook
says 'write the right ones into /etc/kernel/cmdline' "it says what to do"
printf 'BOOT_IMAGE=/linux root=UUID=%s ro  quiet initrd=\\debian\\initrd\n' "$uuid" > "$root/var/lib/khoctl/boot-cmdline"
exits 0 "kernel-install's plugin on a kernel of khoctl's" hook
options "root=UUID=$uuid ro quiet" "the entry gets what the machine was booted by"
exits 0 "and nothing else is left" test "$(ls "$esp/loader/entries" | wc -l)" = 2
entry_by_kernel_install ' systemd.machine_id=0123'
exits 0 "kernel-install's plugin, entries by machine id" hook
options "root=UUID=$uuid ro quiet systemd.machine_id=0123" "the id stays"
entry_by_kernel_install
mkdir -p "$root/etc/kernel"; echo root=/dev/sda1 > "$root/etc/kernel/cmdline"
exits 0 "kernel-install's plugin, options in a file" hook
options 'maxcpus=1 pci=off rdinit=/init' "what comes from a file stays"
# entries on a partition of their own, a unified kernel on the EFI partition
mkdir -p "$root/efi/EFI/systemd" "$root/efi/EFI/Linux" "$root/boot/loader"
mv "$esp/loader/entries" "$root/boot/loader/"; rm -r "$esp"; conf=$root/efi/loader/loader.conf
: > "$root/efi/EFI/Linux/debian-7.4.0+deb13-amd64.efi"
exits 0 "systemd-boot: entries in /boot" "$boot_default" --root "$root" "$old"
loader_conf "default debian-$old.conf\n" "systemd-boot: loader.conf on the EFI partition"
exits 0 "systemd-boot: a unified kernel" "$boot_default" --root "$root" 7.4.0+deb13-amd64
loader_conf '' "systemd-boot: which is the newest"
rm -r "$root/efi" "$root/boot/loader"
exits 0 "another boot loader" "$boot_default" --root "$root" "$old"
says "neither grub nor systemd-boot" "another boot loader: said"

# grub-mkconfig's device is left alone on a kernel that the boot loader has started
exits 0 "grub's device: nothing to say" sh -euc 'GRUB_DEVICE=/dev/sda1 GRUB_DEVICE_BOOT=/dev/sda1 GRUB_DEVICE_UUID=x grub_probe=false
	. "$1"; [ "$GRUB_DEVICE $GRUB_DEVICE_BOOT $GRUB_DEVICE_UUID" = "/dev/sda1 /dev/sda1 x" ]' sh "$top/integration/khoctl-device.cfg"
# the hook of kernel packages, and what it starts
exits 0 "an older kernel is no upgrade" "$top/integration/on-install" 0.0.1
says 'older than what runs' "an older kernel is no upgrade: said"
exits 0 "the running one neither" "$top/integration/on-install" "$(uname -r)"
finish
