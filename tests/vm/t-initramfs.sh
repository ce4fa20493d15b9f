#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The Debian machine's own initrd below khoctl's files: a damaged one is found before anything is touched, a good one is used (modules that it
# lists, with their options), and the machine goes on as with khoctl's own.
set -euo pipefail
LABNAME=${LAB_NAME:-initramfs}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
# shellcheck source=tests/vm/e2e_host.sh
. "$(dirname "$0")/e2e_host.sh"
trap 'lab down > /dev/null 2>&1 || true; host_clients_kill' EXIT
passed=0
ok() { echo "ok    $*"; passed=$((passed + 1)); }
SERVICES=redis

lab down > /dev/null 2>&1 || true
lab up --host --cpus 4 --mem 4096
[ "$(running_state)" = running ] || die "the machine does not run well before anything is done"
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
host_upgrade 1 "$image"
jq -r '.phases[] | select(.name == "initramfs" or .name == "boot" or (.name | startswith("step "))) | "\(.name): \(.us) us"' "$out/report.1.json"
vm sh -c "dmesg | grep -aE 'lies below|khoctl-incoming: enters'; free -m" | tee "$out/used.txt"
grep -aq '(initramfs-tools) lies below; it lists 1 modules to load' "$out/used.txt" || die "the host's list of modules was not found"
[ "$(vm cat /sys/module/loop/parameters/max_loop | tr -d '\r\n')" = 3 ] || die "the module's option does not hold"
ok "the host's initrd was used: module and option, in $(jq '.blackout_us' "$out/report.1.json") us of blackout"
host_clients_stop; ok "clients: no error, no reply missing"
host_end; ok "root file system clean"
echo "$passed passed, 0 failed"
