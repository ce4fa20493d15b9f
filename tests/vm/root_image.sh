#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The disk of a Debian machine whose root is no plain ext4 partition (cache_root.sh), made in a VM: this machine needs no dm-crypt, LVM or
# file system for it. Used by `lab up --host --root KIND`.
#   root_image.sh KIND                  make the cache's host/KIND/root.img, unless it is there already
#   root_image.sh check KIND DISK LOG   look at a machine's disk after it was powered off: nothing of it may be wrong
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "$0")/common.sh"
here=$vmdir
die() { fail "$*"; }
# shellcheck source=tests/vm/disk_tools.sh
. "$vmdir/disk_tools.sh"
SIZE=6G
lab() { LAB_NAME=${LAB_NAME:-default}-disk "$vmdir/lab" "$@"; }

# in_vm SCRIPT LOG DISK [TREE]: a VM with these disks, as $disk and $tree of the script, which also has the words of the kind's env
# shellcheck disable=SC2054
in_vm() {
	local script=$1 log=$2 work=$builddir/root-$kind rc=0
	local more=(-drive "if=none,id=new,format=raw,file=$3" -device virtio-blk-pci,drive=new,serial=root-disk,disable-legacy=on)
	[ -z "${4:-}" ] || more+=(-drive "if=none,id=tree,format=raw,readonly=on,file=$4"
		-device virtio-blk-pci,drive=tree,serial=root-tree,disable-legacy=on)
	mkdir -p "$work"
	[ -d "$work/tools" ] || disk_tools "$work/tools"
	LAB_OVERLAY=$work/tools lab up --cpus 2 --mem 2048 -- "${more[@]}" >&2
	{
		# shellcheck disable=SC2016
		printf '%s\n' "$DISK_ENV" "kind=$kind" 'set -ex' 'modprobe -aq xfs btrfs dm_crypt dm_mod algif_skcipher algif_hash xts' \
			'for s in /sys/block/vd*/serial; do d=/dev/$(basename "${s%/serial}"); case $(cat "$s") in root-disk) disk=$d ;; root-tree) tree=$d ;; esac; done'
		cat "$cache/host/$kind/env"
		declare -f "$script"
		echo "$script"
	} > "$work/script.sh"
	lab put "$work/script.sh" /run/script.sh
	lab put "$builddir/tests/vm/vmagent" /run/vmagent
	lab exec -- sh /run/script.sh > "$log" 2>&1 || rc=$?
	lab down
	[ "$rc" = 0 ] || { tail -n 15 "$log" >&2; fail "root on $kind: see $log"; }
}

# --- these run in the VM, by dash ---
# shellcheck disable=SC2154
install() {
	mkdir -p /tree /new
	mount -t ext4 -o ro "$tree" /tree
	case $kind in
	luks)
		printf %s "$HOST_PASS" > /run/pass
		# (argon2id as the installer's, with what an emulated CPU can do)
		cryptsetup -q luksFormat --type luks2 --uuid "$HOST_LUKS_UUID" --pbkdf argon2id --pbkdf-memory 32768 --pbkdf-parallel 1 \
			--pbkdf-force-iterations 4 "${disk}3" /run/pass
		cryptsetup open --key-file /run/pass "${disk}3" vda3_crypt
		lvm pvcreate -q -y /dev/mapper/vda3_crypt
		lvm vgcreate -q lab-vg /dev/mapper/vda3_crypt
		lvm lvcreate -q -y -n swap_1 -L 512M lab-vg
		lvm lvcreate -q -y -n root -l 100%FREE lab-vg
		mkswap /dev/mapper/lab--vg-swap_1
		mkfs.ext4 -q -U "$HOST_UUID" /dev/mapper/lab--vg-root
		mkfs.ext4 -q -U "$HOST_BOOT_UUID" "${disk}2"
		mount -t ext4 /dev/mapper/lab--vg-root /new
		mkdir /new/boot
		mount -t ext4 "${disk}2" /new/boot
		;;
	xfs)
		mkfs.xfs -q -m "uuid=$HOST_UUID" "${disk}2"
		mount -t xfs "${disk}2" /new
		;;
	btrfs)
		mkfs.btrfs -q -U "$HOST_UUID" "${disk}2"
		mount -t btrfs "${disk}2" /new
		btrfs subvolume create /new/@rootfs
		umount /new
		mount -t btrfs -o subvol=@rootfs "${disk}2" /new
		;;
	esac
	# (kernels are linked to a second name outside of /boot)
	mkdir -p /new/boot
	for f in /tree/*; do
		case $f in */boot) cp -a /tree/boot/. /new/boot/ ;; */lost+found) ;; *) cp -a "$f" /new/ ;; esac
	done
	cp /run/vmagent /new/usr/lib/khoctl-lab/vmagent
	df /new
	if [ "$kind" = luks ]; then
		umount /new/boot
	fi
	umount /new
	if [ "$kind" = luks ]; then
		lvm vgchange -an lab-vg
		cryptsetup close vda3_crypt
	fi
	sync
}

# shellcheck disable=SC2154
look() {
	case $kind in
	luks)
		printf %s "$HOST_PASS" | cryptsetup open --key-file - "${disk}3" vda3_crypt
		lvm vgck lab-vg
		lvm vgchange -ay lab-vg
		lvm lvs -o +devices
		e2fsck -fn /dev/mapper/lab--vg-root
		e2fsck -fn "${disk}2"
		swapon /dev/mapper/lab--vg-swap_1
		swapoff /dev/mapper/lab--vg-swap_1
		;;
	xfs) xfs_repair -n "${disk}2" ;;
	btrfs) btrfs check --readonly "${disk}2" ;;
	esac
}
# --- until here ---

make_disk() {
	local d=$cache/host/$kind sum
	"$vmdir/cache.sh" host "$kind"
	exec 5> "$d.lock"
	flock 5
	sum=$({ cat "$cache/stamp/root-$kind" "$vmdir"/{vmagent.c,frame.c,frame.h}; declare -f install; echo "$SIZE"; } | sha256sum)
	[ "$(cat "$d/made" 2> /dev/null)" != "$sum" ] || [ ! -f "$d/root.img" ] || return 0
	note "  CACHE   root on $kind"
	rm -f "$d"/{made,root.img}
	rm -f "$d/new.img"
	truncate -s "$SIZE" "$d/new.img"
	sfdisk --quiet "$d/new.img" < "$d/disk.sfdisk"
	in_vm install "$d/install.log" "$d/new.img" "$d/tree.img"
	mv "$d/new.img" "$d/root.img"
	printf '%s\n' "$sum" > "$d/made"
}

if [ "${1:-}" = check ]; then
	[ $# = 4 ] || fail "check KIND DISK LOG"
	kind=$2
	in_vm look "$4" "$3"
else
	[ $# = 1 ] || fail "which kind?"
	kind=$1
	make_disk
fi
