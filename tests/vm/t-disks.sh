#!/usr/bin/env bash
# Upgrades of a machine whose data lies on what a disk's installer makes of it: LVM over two units of one virtio-scsi adapter with a striped
# xfs and an encrypted volume (LUKS2, the key not given out by the kernel) with ext4; a btrfs of which a subvolume is mounted; swap. One
# process writes to all of them, numbered lines, all the time: through an upgrade that is undone, one that works, the way back, and one during which
# one more volume does not answer.
set -euo pipefail
LABNAME=${LAB_NAME:-disks}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
# shellcheck source=tests/vm/disk_tools.sh
. "$here/disk_tools.sh"
export CPUS=4
trap 'lab down > /dev/null 2>&1 || true' EXIT
script() { vm sh -c "$DISK_ENV; $1"; }

# Of everything between disks and directories: what must be the same in every generation. Keys are shown as zeros.
# shellcheck disable=SC2016
disks() {
	script 'dmsetup info -c --noheadings -o name,uuid | grep -v ^khoctl | sort
		dmsetup table | grep -v ^khoctl | sed -e "s/[0-9]*:[0-9]* / /g" -e "s/:64:logon:[^ ]*/0/" -e "s/00000*/0/" | sort
		sed -n "s|^[^ ]* \(/srv/.*\) 0 0|\1|p" /proc/mounts | sed "s/,*\(attr2\|noattr2\)//g" | sort
		for d in /sys/block/sd* /sys/block/vd*; do echo "$(cat $d/size) $(readlink -f $d | grep -o 0000:[0-9:.]*[0-9] | tail -n 1)"; done | sort' | tr -d '\r'
}
# The writer has not stopped: the last number grows, and no number was left out.
writes() {
	local a b d
	a=$(vm sh -c 'tail -n 1 /srv/x/lines' | cut -d' ' -f1)
	sleep 2
	for d in x c b; do
		b=$(vm sh -c "tail -n 1 /srv/$d/lines" | cut -d' ' -f1)
		[ "${b:-0}" -gt "${a:-0}" ] || die "the writer stands still on /srv/$d at $b: $(vm cat /run/writer.failed 2> /dev/null)"
		vm sh -c "awk '\$1 != NR { bad = 1; exit } END { exit bad }' /srv/$d/lines" || die "/srv/$d: lines are missing"
	done
	for d in x c b; do
		[ "$(vm sh -c "sha256sum < /srv/$d/file" | cut -c1-64)" = "$digest" ] || die "/srv/$d/file is not what was written"
	done
	vm dmesg > "$out/dmesg"
	! grep -aE 'BUG:|WARNING:|Oops|Call Trace|I/O error|metadata corruption|BTRFS (error|critical)|EXT4-fs error|XFS .*orruption' "$out/dmesg" ||
		die "the kernel complains"
}
# The three longest times between two lines since line $1: the blackout, and whatever else the writer has waited for.
gaps() {
	vm sh -c "awk '\$1 >= $1 { if (last) print (\$2 - last) * 1000; last = \$2 }' /srv/x/lines | sort -rn | head -n 3 | tr '\n' ' '" | tr -d '\r'
}
swaps() { vm sh -c 'sed 1d /proc/swaps | wc -l' | tr -d '\r'; }

lab down > /dev/null 2>&1 || true
disk_tools "$out/tools"
rm -f "$out"/*.img; truncate -s 320M "$out/s0.img" "$out/s1.img"; truncate -s 400M "$out/b.img"
printf '%s\n' 'label: gpt' 'start=2048, size=614400' 'start=616448, size=131072, type=swap' | sfdisk --quiet "$out/b.img"
LAB_OVERLAY=$out/tools lab up --cpus 4 --mem 4096 -- -device virtio-scsi-pci,id=scsi,disable-legacy=on \
	-drive "if=none,id=s0,format=raw,file=$out/s0.img" -device scsi-hd,drive=s0,bus=scsi.0,lun=0,serial=unit-0 \
	-drive "if=none,id=s1,format=raw,file=$out/s1.img" -device scsi-hd,drive=s1,bus=scsi.0,lun=1,serial=unit-1 \
	-drive "if=none,id=b,format=raw,file=$out/b.img" -device virtio-blk-pci,drive=b,serial=btrfs-disk,disable-legacy=on
first=$(vm_release)
cat > "$out/setup.sh" <<-'E'
	set -e
	modprobe -a virtio_scsi sd_mod xfs btrfs dm_crypt dm_mod
	until [ -b /dev/sda ] && [ -b /dev/sdb ]; do sleep 0.1; done
	b=$(grep -l btrfs-disk /sys/block/vd*/serial); b=/dev/$(basename ${b%/serial})
	lvm pvcreate -q -y /dev/sda /dev/sdb
	lvm vgcreate -q v /dev/sda /dev/sdb
	lvm lvcreate -q -y -n x -i 2 -L 400M v
	lvm lvcreate -q -y -n c -L 96M v
	lvm lvcreate -q -y -n z -L 32M v
	mkfs.xfs -q /dev/mapper/v-x
	printf 'correct horse' > /run/pass
	cryptsetup -q luksFormat --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/mapper/v-c /run/pass
	cryptsetup open --key-file /run/pass --allow-discards --persistent /dev/mapper/v-c luks-c
	rm /run/pass
	dmsetup table luks-c | grep -q ':logon:'
	mke2fs -q -t ext4 /dev/mapper/luks-c
	mkfs.btrfs -q -f ${b}1
	mke2fs -q -t ext4 /dev/mapper/v-z
	mkdir -p /srv/x /srv/c /srv/b /srv/z
	mount -t ext4 /dev/mapper/v-z /srv/z # the first: it is stopped behind all others
	mount -t btrfs ${b}1 /srv/b; btrfs subvolume create /srv/b/@home; umount /srv/b
	mount -t btrfs -o subvol=@home,noatime ${b}1 /srv/b
	mount -t xfs -o nosuid /dev/mapper/v-x /srv/x
	mount -t ext4 -o errors=remount-ro /dev/mapper/luks-c /srv/c
	head -c 1000000 /dev/urandom > /srv/z/file
	head -c 5000000 /dev/urandom > /srv/x/file
	cp /srv/x/file /srv/c/file; cp /srv/x/file /srv/b/file; sync
	mkswap ${b}2; swapon -p 7 ${b}2
	mkdir -p /usr/local/bin; mv /run/writer /usr/local/bin/writer; chmod 755 /usr/local/bin/writer
	/usr/local/bin/writer /run/writer.pid /srv/x /srv/c /srv/b
	mkdir -p /etc/khoctl/workloads.d; echo 'pidfile = /run/writer.pid' > /etc/khoctl/workloads.d/writer.conf
E
lab put "$out/setup.sh" /run/setup.sh
lab put "$top/build/tests/vm/writer" /run/writer
script '. /run/setup.sh' > "$out/setup.txt" 2>&1 || die "$(tail -n 5 "$out/setup.txt")"
digest=$(vm sh -c 'sha256sum < /srv/x/file' | cut -c1-64)
disks > "$out/disks.before"
cat "$out/disks.before"
writes
ok "LVM on two SCSI units, LUKS on LVM, btrfs, xfs, swap; all are written to"

image=$(other_image)
rc=0
vm khoctl check --to "$image" > "$out/check.locked" 2>&1 || rc=$?
if [ "$rc" != 2 ] || ! grep -q 'khoctl unlock' "$out/check.locked"; then cat "$out/check.locked"; die "check does not ask for the key: $rc"; fi
rc=0
vm sh -c 'printf "wrong\nwrong\nwrong\n" | khoctl unlock' > "$out/unlock.wrong" 2>&1 || rc=$?
[ "$rc" = 2 ] || die "a wrong passphrase: exit code $rc: $(cat "$out/unlock.wrong")"
vm sh -c 'printf "wrong\ncorrect horse\n" | khoctl unlock' || die "unlock"
vm khoctl check --to "$image" > "$out/check" 2>&1 || { cat "$out/check"; die "check"; }
for w in 'xfs on v-x \(LVM\) moves' 'ext4 on luks-c \(encrypted\) moves' 'btrfs on vd.*moves' 'swap with .*turned off'; do
	grep -qE "$w" "$out/check" || { cat "$out/check"; die "check does not say: $w"; }
done
ok "check: everything moves, once the passphrase was given"

# all of it was taken over and mounted there when this one fails
rc=0
vm env KHOCTL_FAULT=restore:fail khoctl upgrade --to "$image" > "$out/undone.txt" 2>&1 || rc=$?
[ "$rc" = 3 ] || { tail -n 30 "$out/undone.txt"; die "an upgrade that fails in restore: exit code $rc, wanted 3"; }
grep -q "injected failure" "$out/undone.txt" || die "undone, but for another reason: $(tail -n 1 "$out/undone.txt")"
disks > "$out/disks.undone"
diff -u "$out/disks.before" "$out/disks.undone" || die "the disks are not as they were"
[ "$(swaps)" = 1 ] || die "swap is not on again"
script "dmsetup table luks-c | grep -q ':logon:'" || die "the key is in the table of the outgoing kernel"
writes
ok "an upgrade that was undone: mappings, mounts and swap as before, the writer goes on"

# going NAME: one upgrade to the other kernel; what must be so afterwards
going() {
	local from to i line
	from=$(vm_release); image=$(other_image); to=${image#/boot/vmlinuz-}
	line=$(vm sh -c 'tail -n 1 /srv/x/lines' | cut -d' ' -f1)
	vm khoctl upgrade --yes --to "$image" > "$out/$1.txt" 2>&1 || { tail -n 30 "$out/$1.txt"; die "$1: upgrade"; }
	wait_alone "$to"
	# merged: a disk or partition with a file system keeps a linear layer of ours, LVM and LUKS nothing
	for i in $(seq 100); do
		script 'dmsetup table' > "$out/$1.table"
		grep -qE 'snapshot|khoctl-under' "$out/$1.table" || break
		[ "$i" -lt 100 ] || die "$1: is not merged: $(cat "$out/$1.table")"
		sleep 0.5
	done
	disks > "$out/disks.$1"
	diff -u "$out/disks.before" "$out/disks.$1" || die "$1: the disks are not as they were"
	[ "$(swaps)" = 0 ] || die "$1: swap is on"
	writes
	vm khoctl report --json > "$out/$1.json" || die "$1: report"
	ok "$from -> $to: mappings and mounts as before, all lines are there; $(jq .blackout_us "$out/$1.json") us of blackout; the longest gaps between two lines: $(gaps "$line")ms"
}
going up
going back
[ "$(vm_release)" = "$first" ] || die "$first does not run again"

# A disk that does not answer while its file system is to stand still: it is given up, the others go on, and that one as soon as it answers. (Last of
# all: it takes minutes, and what `khoctl unlock` puts into the kernel is there for some minutes only.)
cat > "$out/sulk.sh" <<-'E'
	state() { read -r _ step < /run/khoctl/lock && [ "$step" = "$1" ]; }
	until state precopy || state freeze; do sleep 0.1; done
	# no program is started in between: there is only the time that stopping the network and the workloads takes
	until state freeze; do :; done
	dmsetup suspend --nolockfs --noflush v-z
	dd if=/dev/urandom of=/srv/z/file bs=4096 count=200 conv=notrunc 2> /dev/null
E
sulks() {
	local rc=0
	image=$(other_image)
	# it waits longer than the kernel finds decent, which would say so with a call trace
	# shellcheck disable=SC2016
	vm sh -c 'f=/proc/sys/kernel/hung_task_timeout_secs; [ ! -e $f ] || echo 0 > $f'
	lab put "$out/sulk.sh" /run/sulk.sh
	vm sh -c "$DISK_ENV; setsid sh /run/sulk.sh > /run/sulk.log 2>&1 < /dev/null &"
	vm khoctl upgrade --yes --to "$image" > "$out/sulk.txt" 2>&1 || rc=$?
	script 'dmsetup info v-z | grep -q SUSPENDED' || { tail -n 30 "$out/sulk.txt"; die "v-z was not made to wait: $(vm cat /run/sulk.log)"; }
	writes
	[ "$rc" = 4 ] || { tail -n 30 "$out/sulk.txt"; die "a file system that does not come to a stand: exit code $rc, wanted 4"; }
	has sulk.txt 'file system on v-z: its disk does not answer; it goes on as soon as it does'
	vm khoctl status > "$out/sulk.status" 2>&1 || true
	has sulk.status 'step wait-for-disk'
}
# What was made to wait: its disk answers, and everybody who waited goes on.
sulks_no_more() {
	local i
	# (not by `timeout`: who waits for a file system that stands still cannot be killed)
	vm sh -c 'setsid sh -c "echo yes > /srv/z/yes && sync /srv/z/yes && echo yes > /run/z.written" > /dev/null 2>&1 < /dev/null &'
	sleep 3
	vm test ! -e /run/z.written || die "v-z answers already"
	script 'dmsetup resume v-z'
	for i in $(seq 100); do
		! vm test -e /run/z.written || break
		[ "$i" -lt 100 ] || die "/srv/z stands still though its disk answers"
		sleep 0.2
	done
	for i in $(seq 100); do
		vm khoctl status > "$out/sulk.status" 2>&1 || true
		! grep -q 'khoctl rollback tries once more' "$out/sulk.status" || break
		[ "$i" -lt 100 ] || { cat "$out/sulk.status"; die "khoctl does not end, or does not say what to type"; }
		sleep 0.2
	done
	cat "$out/sulk.status"
	vm khoctl rollback > "$out/sulk.rollback" 2>&1 || { tail -n 12 "$out/sulk.rollback"; die "khoctl rollback"; }
	disks > "$out/disks.sulk"
	diff -u "$out/disks.before" "$out/disks.sulk" || die "the disks are not as they were"
	writes
	vm khoctl check --to "$image" > "$out/check.sulk" 2>&1 || { cat "$out/check.sulk"; die "check"; }
	ok "a disk that does not answer: the others go on, and its file system as soon as it does"
}
sulks
sulks_no_more

cat > "$out/clean.sh" <<-'E'
	set -e
	b=$(grep -l btrfs-disk /sys/block/vd*/serial); b=/dev/$(basename ${b%/serial})
	kill $(cat /run/writer.pid); sleep 1
	umount /srv/x /srv/c /srv/b /srv/z
	e2fsck -fn /dev/mapper/v-z
	xfs_repair -n /dev/mapper/v-x
	e2fsck -fn /dev/mapper/luks-c
	cryptsetup status luks-c
	cryptsetup close luks-c
	printf 'correct horse' | cryptsetup open --test-passphrase --key-file - /dev/mapper/v-c
	for m in $(dmsetup ls | grep -o '^khoctl-[0-9]*'); do dmsetup remove $m || true; done
	btrfs check --readonly ${b}1
	lvm vgck v; lvm pvs; lvm lvs
	lvm vgchange -an v
	swapon ${b}2; swapoff ${b}2
E
lab put "$out/clean.sh" /run/clean.sh
script '. /run/clean.sh' > "$out/clean.txt" 2>&1 || { tail -n 12 "$out/clean.txt"; die "something is not clean"; }
ok "xfs_repair, e2fsck, btrfs check, vgck, cryptsetup: clean"
echo "$passed passed, 0 failed"
