#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The Debian machine's own initrd below khoctl's files: a damaged one is found before anything is touched, a good one is used (modules that it
# lists, with their options), and the machine goes on as with khoctl's own. HOST=all (make test-host): and back, on the initrd of dracut, which
# took the place of initramfs-tools.
set -euo pipefail
LABNAME=${LAB_NAME:-initramfs}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
# shellcheck source=tests/vm/e2e_host.sh
. "$(dirname "$0")/e2e_host.sh"
trap 'lab down > /dev/null 2>&1 || true; host_clients_kill' EXIT
SERVICES=redis

# upgrade_on N IMAGE SAID MAX_LOOP: upgrade N goes by the host's initrd; what khoctl's init said of it, and what the option of a module is then
upgrade_on() {
	host_upgrade "$1" "$2"
	jq -r '.phases[] | select(.name == "initramfs" or .name == "boot" or (.name | startswith("step "))) | "\(.name): \(.us) us"' "$out/report.$1.json"
	vm sh -c "dmesg | grep -aE 'lies below|initramfs: |khoctl-incoming: enters'; free -m" | tee "$out/used.$1.txt"
	grep -aqF "$3" "$out/used.$1.txt" || die "the host's list of modules was not found"
	[ "$(vm cat /sys/module/loop/parameters/max_loop | tr -d '\r\n')" = "$4" ] || die "the module's option does not hold"
	ok "the host's initrd was used: module and option, in $(jq '.blackout_us' "$out/report.$1.json") us of blackout"
}

# Debian's dracut, as apt installs it over initramfs-tools; one module is forced, another listed by a package. (INITRD=No: apt would make that
# of the newest kernel, here the running one; a minute of emulated shell for nothing.)
back_by_dracut() {
	local p deb image release
	image=$(other_image) release=${image#/boot/vmlinuz-}
	say "dracut in place of initramfs-tools; back to $release"
	for p in dracut dracut-core dracut-install; do
		deb=$("$here/cache.sh" package "$p" 2> /dev/null | tail -n 1) || die "package $p"
		lab put "${XDG_CACHE_HOME:-$HOME/.cache}/khoctl/apt/debs/${deb##*/}.deb" "/root/$p.deb"
	done
	# shellcheck disable=SC2016
	vm sh -ec 'rm "/boot/initrd.img-$1"
		mkdir -p /etc/dracut.conf.d /usr/lib/modules-load.d
		printf "hostonly=yes\nforce_drivers+=\" loop \"\n" > /etc/dracut.conf.d/lab.conf
		echo dummy > /usr/lib/modules-load.d/lab.conf
		echo "options loop max_loop=5" > /etc/modprobe.d/zz-test.conf
		INITRD=No DEBIAN_FRONTEND=noninteractive apt-get -y install /root/dracut*.deb
		if dpkg-query -W -f "\${Status}" initramfs-tools | grep -q " installed"; then exit 1; fi
		/etc/kernel/postinst.d/dracut "$1"; ls -l /boot' sh "$release" > "$out/dracut.txt" 2>&1 || { tail -n 20 "$out/dracut.txt"; die "dracut"; }
	vm khoctl check --to "$image" > "$out/dracut.check" || { cat "$out/dracut.check"; die "check with dracut's initrd"; }
	grep -a " initramfs " "$out/dracut.check"
	upgrade_on 2 "$image" '(dracut) lies below; it lists 2 modules to load' 5
	! grep -aq "of the host's initramfs: " "$out/used.2.txt" || die "a module of the list was not loaded"
}

lab down > /dev/null 2>&1 || true
lab up --host --cpus 4 --mem 4096
runs_well "before anything is done"
host_list
host_clients_start
host_remember
image=$(other_image)
release=${image#/boot/vmlinuz-}

# cut off: said, and nothing is touched
vm sh -c "echo 'initramfs = host' >> /etc/khoctl/khoctl.conf; cp -p /boot/initrd.img-$release /root/good; head -c 9000000 /root/good > /boot/initrd.img-$release"
vm khoctl check --to "$image" > /dev/null || true # loads what a look needs
host_machine > "$out/before"
rc=0
vm khoctl upgrade --to "$image" > "$out/damaged.txt" 2>&1 || rc=$?
[ "$rc" = 2 ] || { cat "$out/damaged.txt"; die "a damaged initrd: exit code $rc, wanted 2"; }
grep -aq "initrd.img-$release .*damaged: " "$out/damaged.txt" || die "a damaged initrd: not said: $(tail -n 3 "$out/damaged.txt")"
host_machine > "$out/after"
diff -u "$out/before" "$out/after" || die "a damaged initrd: the machine is not as it was"
ok "damaged initrd: refused, nothing touched"
vm sh -c "sed -i '/initramfs/d' /etc/khoctl/khoctl.conf"
vm khoctl check --to "$image" > "$out/auto.txt" || die "check with a damaged initrd"
grep -aq "damaged.*khoctl's own is used alone" "$out/auto.txt" || die "auto: the damaged initrd is not named"
ok "damaged initrd, auto: khoctl's own"

# good, with a module that it lists and an option that holds here now
# shellcheck disable=SC2016
vm sh -ec 'echo "options loop max_loop=3" > /etc/modprobe.d/zz-test.conf
	mkdir -p /run/more/conf; cd /run/more
	echo loop > conf/modules
	find . -mindepth 1 | sort | cpio -o -H newc --quiet -R 0:0 > /run/more.cpio
	{ cat /root/good; head -c $((512 - $(stat -c %s /root/good) % 512)) /dev/zero; cat /run/more.cpio; } > "$1"
	echo "initramfs = host" >> /etc/khoctl/khoctl.conf' sh "/boot/initrd.img-$release"
vm khoctl check --to "$image" > "$out/host.txt" || { cat "$out/host.txt"; die "check with the host's initrd"; }
grep -a " initramfs " "$out/host.txt"
upgrade_on 1 "$image" '(initramfs-tools) lies below; it lists 1 modules to load' 3
[ "${HOST:-}" != all ] || back_by_dracut
host_clients_stop; ok "clients: no error, no reply missing"
host_end; ok "root file system clean"
echo "$passed passed, 0 failed"
