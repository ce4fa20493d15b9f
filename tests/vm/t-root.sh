#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# A Debian machine whose root is what the installer makes of a disk that is no plain ext4 partition. ROOTS (default: luks; HOST=all: all):
#   luks   "guided - encrypted LVM": ext4 and swap on LVM on LUKS2, its passphrase typed at boot and once more for khoctl, /boot beside it
#   xfs, btrfs (subvolume @rootfs)
# Each: an upgrade that fails and is undone; one that works, with a client; luks: the way back, which asks nobody. Clean in the end.
# STATE_DIR=1: by kexec instead, with the state on that root (ROOTS='luks xfs'; on btrfs it is refused): one that fails, one that works.
set -euo pipefail
LABNAME=${LAB_NAME:-root}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
# shellcheck source=tests/vm/e2e_host.sh
. "$(dirname "$0")/e2e_host.sh"
export CPUS=4 SERVICES=redis
trap 'lab down > /dev/null 2>&1 || true; host_clients_kill' EXIT
if [ "${HOST:-}" = all ]; then ROOTS=${ROOTS:-luks xfs btrfs}; else ROOTS=${ROOTS:-luks}; fi

# Mappings by name, UUID and what they are made of (keys as zeros); mounts below the root; swap; what LVM and LUKS say of themselves.
disks() {
	# shellcheck disable=SC2016
	vm sh -c 'dmsetup info -c --noheadings -o name,uuid | grep -v -e ^khoctl -e "^No devices" | sort
		dmsetup table | grep -v -e ^khoctl -e "^No devices" | sed -e "s/[0-9]*:[0-9]* / /g" -e "s/:64:logon:[^ ]*/0/" -e "s/00000*/0/" | sort
		findmnt -rn --real -o TARGET,FSTYPE,OPTIONS | sed "s/,\(no\)*attr2//" | sort; swapon --show=TYPE,SIZE --noheadings
		if [ -e /dev/mapper/vda3_crypt ]; then
			lvs --noheadings -o vg_name,lv_name,lv_size,lv_active,devices; vgs --noheadings -o vg_name,vg_attr; vgck -v lab-vg 2>&1
			cryptsetup status vda3_crypt | grep -v -e "key location" -e "sector size"
		fi; systemctl list-units --plain --no-legend "systemd-cryptsetup@*" "*.mount" | cut -d" " -f1 | grep -v ^run- | sort' | tr -d '\r'
}

# What was written before the commit is on the disk: no snapshot is left.
merged() {
	local i
	for i in $(seq 200); do
		vm dmsetup table > "$out/table"
		grep -qE 'snapshot|khoctl-under' "$out/table" || return 0
		[ "$i" -lt 200 ] || die "is not merged: $(cat "$out/table")"
		sleep 0.5
	done
}

# The key of LUKS is in no file: neither as it is nor in hexadecimal digits. (One that is there would be found.)
key_is_nowhere() {
	# shellcheck disable=SC2016
	vm sh -c 'k=$(dmsetup table --showkeys vda3_crypt | cut -d" " -f5); [ ${#k} = 128 ] || { echo "no key in the table: ${#k}"; exit 1; }
		export LC_ALL=C
		b=$(echo "$k" | sed "s/../& /g" | grep -oE "((0[0-9b-f]|[1-9a-f][0-9a-f]) ){8}" | head -n 1 | sed "s/\\(..\\) /\\\\x\\1/g") # no line ends in it
		found() { grep -rlaP "$b" /run /dev/shm /tmp /etc /root /srv /var/lib/khoctl /var/log; grep -rlaF "$k" /run /dev/shm /tmp /etc /root /srv /var; }
		echo "$k" > /dev/shm/hex; bash -c "printf \"$b\"" > /dev/shm/bytes
		n=$(found | grep -cxE "/dev/shm/(hex|bytes)"); rm /dev/shm/hex /dev/shm/bytes
		[ "$n" = 2 ] || { echo "not found where it is"; exit 1; }
		! found | grep .' > "$out/key" 2>&1 || die "the key of LUKS: $(cat "$out/key")"
}

# type_key WORD...: what a person answers khoctl
type_key() { vm sh -c 'printf "%s\n" "$@" | khoctl unlock' sh "$@"; }

# Only after khoctl was told the passphrase; three wrong ones are none.
unlock() {
	local rc=0
	vm khoctl check --to "$(other_image)" > "$out/check.locked" 2>&1 || rc=$?
	if [ "$rc" != 2 ] || ! grep -q 'khoctl unlock' "$out/check.locked"; then cat "$out/check.locked"; die "check does not ask for the key: $rc"; fi
	rc=0
	type_key wrong wrong wrong > "$out/unlock.wrong" 2>&1 || rc=$?
	[ "$rc" = 2 ] || die "a wrong passphrase: exit code $rc: $(cat "$out/unlock.wrong")"
	type_key wrong "$pass" || die "unlock"
	ok "$ROOT: check says no until khoctl unlock was given the passphrase"
}

# going N: one upgrade to the other kernel; the disks are as before
going() {
	# (what was typed is forgotten after 15 minutes; the second one asks nobody)
	[ "$ROOT-$1" != luks-1 ] || type_key "$pass" || die "unlock"
	host_upgrade "$1" "$(other_image)"
	merged
	disks > "$out/disks.$1"
	diff -u "$out/disks.before" "$out/disks.$1" || die "$ROOT: the disks are not as they were"
	[ "$ROOT" != luks ] || { key_is_nowhere; ok "$ROOT: the key is in no file"; }
	vm dmesg > "$out/dmesg.$1"
	! grep -aE 'BUG:|WARNING:|Oops|Call Trace|I/O error|metadata corruption|BTRFS (error|critical)|EXT4-fs error|XFS .*orruption' "$out/dmesg.$1" ||
		die "$ROOT: the kernel complains"
	ok "$ROOT: $(vm_release), disks as before; $(jq .blackout_us "$out/upgrade.$1.json") us of blackout"
}

# nothing_left WHEN: the folder for the state is empty, or is so within seconds (after an upgrade it goes behind the report)
nothing_left() {
	local i
	for i in $(seq 60); do
		[ "$(in_vm "ls -A $state_on | wc -l")" != 0 ] || return 0
		sleep 0.5
	done
	die "$ROOT: $1, there is left in $state_on: $(in_vm "ls -A $state_on")"
}

# The state goes over the root's own disk.
state_on=/srv/state
over_root() {
	local rc=0
	vm mkdir -m 700 "$state_on"
	vm khoctl check --to "$(other_image)" --engine kexec --state-dir "$state_on" > "$out/check.state" 2>&1 || rc=$?
	if [ "$ROOT" = btrfs ]; then
		[ "$rc" = 2 ] || { cat "$out/check.state"; die "a state on btrfs: exit code $rc, wanted 2"; }
		has check.state 'neither on ext4 nor on xfs'
		ok "$ROOT: refused, it is no file system for the state"
		return
	fi
	[ "$rc" = 0 ] || { cat "$out/check.state"; die "check: exit code $rc"; }
	has check.state "a disk: $state_on"
	host_machine > "$out/before"
	host_fails state-restore "injected failure" env KHOCTL_FAULT=restore:fail khoctl upgrade --to "$(other_image)" --engine kexec --state-dir "$state_on"
	disks > "$out/disks.undone"
	diff -u "$out/disks.before" "$out/disks.undone" || die "$ROOT: undone, the disks are not as they were"
	nothing_left "undone"
	ENGINE=kexec STATE_ON=$state_on going 1
	jq -e 'any(.phases[]; .name == "state from disk")' "$out/report.1.json" > /dev/null || die "$ROOT: the disk was not used"
	nothing_left "upgraded"
	vm rmdir "$state_on"
	ok "$ROOT: the state went over it, and nothing of it is left"
}

# With a kernel beside.
beside() {
	vm khoctl check --to "$(other_image)" > /dev/null || die "check"
	host_machine > "$out/before"
	host_fails fault-restore "injected failure" env KHOCTL_FAULT=restore:fail khoctl upgrade --to "$(other_image)"
	disks > "$out/disks.undone"
	diff -u "$out/disks.before" "$out/disks.undone" || die "$ROOT: undone, the disks are not as they were"
	going 1
	[ "$ROOT" != luks ] || going 2
}

for ROOT in $ROOTS; do
	export ROOT
	say "root on $ROOT"
	lab down > /dev/null 2>&1 || true
	lab up --host --root "$ROOT" --cpus "$CPUS" --mem 4096
	runs_well "before anything is done"
	host_list
	host_clients_start
	host_remember
	disks > "$out/disks.before"
	cat "$out/disks.before"
	if [ "$ROOT" = luks ]; then
		# shellcheck disable=SC1091
		pass=$(. "${XDG_CACHE_HOME:-$HOME/.cache}/khoctl/host/luks/env"; echo "$HOST_PASS")
		vm sh -c 'dmsetup table vda3_crypt | grep -q ":logon:"' || die "the kernel shows the key"
		unlock
	fi
	if [ "${STATE_DIR:-}" ]; then over_root; else beside; fi
	host_clients_stop; ok "$ROOT: clients: no error, no reply missing"
	host_end; ok "$ROOT: powered off, the disk is clean"
done
echo "$passed passed, 0 failed"
