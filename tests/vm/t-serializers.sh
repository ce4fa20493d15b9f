#!/usr/bin/env bash
# Serializers on one kernel, on each of the two: packets held and released, a NIC and disks that pretend to change hands
# (build/serializer-check says what it checks). Afterwards the disks' file systems are checked outside the VM.
set -euo pipefail
LABNAME=${LAB_NAME:-serializers}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
# shellcheck source=tests/vm/disk_tools.sh
. "$here/disk_tools.sh"
trap 'lab down > /dev/null 2>&1 || true' EXIT
passed=0

# check NAME COMMAND...: every line of it is a fact; one that begins with FAIL fails
check() {
	local name=$1 rc=0
	shift
	vm "$@" > "$out/$name.txt" 2>&1 || rc=$?
	[ "$rc" = 0 ] || { grep -a FAIL "$out/$name.txt" || tail -n 20 "$out/$name.txt"; die "$name: exit code $rc"; }
	echo "ok    $name: $(grep -c '^ok' "$out/$name.txt") facts"
	passed=$((passed + 1))
}

# What is made of the disks check-2 and check-3: a volume group over both, in it a striped xfs and an encrypted volume with ext4, whose key the
# kernel does not give out again; and on check-4 a btrfs, of which a subvolume is mounted.
stacks() {
	cat <<-'E'
		set -e
		for d in /sys/block/vd*; do ln -sfn ${d##*/} /dev/$(cat $d/serial); done
		modprobe -a xfs btrfs dm_crypt
		lvm pvcreate -q -y /dev/check-2 /dev/check-3
		lvm vgcreate -q t /dev/check-2 /dev/check-3
		lvm lvcreate -q -y -n x -i 2 -L 304M t
		lvm lvcreate -q -y -n c -L 64M t
		mkfs.xfs -q /dev/mapper/t-x
		mkdir -p /etc/keys; head -c 64 /dev/urandom > /etc/keys/c.key; chmod 600 /etc/keys/c.key
		cryptsetup -q luksFormat --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/mapper/t-c /etc/keys/c.key
		cryptsetup open --key-file /etc/keys/c.key /dev/mapper/t-c luks-c
		dmsetup table luks-c | grep -q ':logon:'
		echo 'luks-c /dev/mapper/t-c /etc/keys/c.key luks' > /etc/crypttab
		mke2fs -q -t ext4 /dev/mapper/luks-c
		mkfs.btrfs -q -f /dev/check-4
		mount -t btrfs /dev/check-4 /mnt/x; btrfs subvolume create /mnt/x/@home; umount /mnt/x
	E
}

# After all: nothing wrong with any of them.
stacks_clean() {
	cat <<-'E'
		set -e
		xfs_repair -n /dev/mapper/t-x
		e2fsck -fn /dev/mapper/luks-c
		cryptsetup close luks-c
		cryptsetup open --test-passphrase --key-file /etc/keys/c.key /dev/mapper/t-c
		btrfs check --readonly /dev/check-4
		lvm vgck t
		lvm vgchange -q -an t
	E
}

disk_tools "$out/tools"
export LAB_OVERLAY=$out/tools
for kernel in linux-image-cloud-amd64/trixie linux-image-cloud-amd64/trixie-backports; do
	lab down > /dev/null 2>&1 || true
	rm -f "$out"/disk*.img; truncate -s 64M "$out/disk0.img" "$out/disk1.img"; truncate -s 240M "$out"/disk{2,3,4}.img
	# one partition, Linux, from sector 2048 to the end
	printf '\0\0\0\0\203\0\0\0\0\10\0\0\0\370\1\0' | dd of="$out/disk1.img" bs=1 seek=446 conv=notrunc status=none
	printf '\125\252' | dd of="$out/disk1.img" bs=1 seek=510 conv=notrunc status=none
	lab up --outgoing "$kernel" --cpus 2 --mem 2048 -- \
		-drive "if=none,id=x0,format=raw,file=$out/disk0.img" -device virtio-blk-pci,drive=x0,serial=check-0,disable-legacy=on \
		-drive "if=none,id=x1,format=raw,file=$out/disk1.img" -device virtio-blk-pci,drive=x1,serial=check-1,disable-legacy=on \
		-drive "if=none,id=x2,format=raw,file=$out/disk2.img" -device virtio-blk-pci,drive=x2,serial=check-2,disable-legacy=on \
		-drive "if=none,id=x3,format=raw,file=$out/disk3.img" -device virtio-blk-pci,drive=x3,serial=check-3,disable-legacy=on \
		-drive "if=none,id=x4,format=raw,file=$out/disk4.img" -device virtio-blk-pci,drive=x4,serial=check-4,disable-legacy=on \
		-netdev user,id=u0 -device virtio-net-pci,netdev=u0,mac=52:54:00:99:00:01,disable-legacy=on,romfile=
	v=$(vm_release) v=${v%%+*}
	lab put "$top/build/serializer-check" /run/serializer-check
	vm chmod 755 /run/serializer-check
	check "$v-hold" /run/serializer-check hold
	# one whole disk, and the only partition of another
	# shellcheck disable=SC2016
	vm sh -c 'cd /sys/block; for d in vd*; do case $(cat $d/serial) in
		check-0) mke2fs -q -t ext4 /dev/$d; echo /dev/$d > /run/d0;;
		check-1) mke2fs -q -t ext4 /dev/${d}1; echo /dev/${d}1 > /run/d1;; esac; done
		umount /data; mkdir -p /mnt/x /run/x'
	for i in 0 1; do
		# shellcheck disable=SC2016
		vm sh -c 'mount -t ext4 -o noatime,nosuid $(cat /run/d'$i') /mnt/x'
		# shellcheck disable=SC2016
		check "$v-disk$i" /run/serializer-check block /mnt/x khoctl-0 linear
	done
	stacks > "$out/stacks.sh"; lab put "$out/stacks.sh" /run/stacks.sh
	vm sh -c "$DISK_ENV; . /run/stacks.sh" > "$out/$v-stacks.txt" 2>&1 || die "$v: $(tail -n 5 "$out/$v-stacks.txt")"
	vm mount -t xfs /dev/mapper/t-x /mnt/x
	check "$v-xfs-striped" /run/serializer-check block /mnt/x t-x striped
	vm mount -t ext4 /dev/mapper/luks-c /mnt/x
	check "$v-luks-lvm" /run/serializer-check block /mnt/x luks-c crypt
	vm mount -t btrfs -o subvol=@home /dev/check-4 /mnt/x
	check "$v-btrfs" /run/serializer-check block /mnt/x khoctl-0 linear
	stacks_clean > "$out/clean.sh"; lab put "$out/clean.sh" /run/clean.sh
	vm sh -c "$DISK_ENV; . /run/clean.sh" > "$out/$v-clean.txt" 2>&1 || die "$v: $(tail -n 5 "$out/$v-clean.txt")"
	echo "ok    $v-stacks: file systems, volume group and header are clean"
	passed=$((passed + 1))
	# shellcheck disable=SC2016
	vm sh -c 'n=$(grep -l 52:54:00:99:00:01 /sys/class/net/*/address | cut -d/ -f5); echo 0 > /proc/sys/net/ipv6/conf/$n/accept_ra; ip link set $n mtu 1400 up
		ip addr add 10.0.2.15/24 dev $n; ip addr add fd99::5/64 dev $n nodad; ip route add 10.7.0.0/16 via 10.0.2.3 metric 7
		ip -6 route add fd07::/64 via fd99::2; ip rule add from 10.0.2.15 table 77; ip route add 10.8.0.0/16 via 10.0.2.2 table 77
		ip route add blackhole 10.66.0.0/16
		modprobe 8021q; modprobe bridge; modprobe dummy numdummies=0
		ip link add link $n name v5 type vlan id 5; ip addr add 10.5.0.1/24 dev v5; ip link set v5 up; ip route add 10.6.0.0/16 dev v5
		ip link add d0 type dummy; ip link add b0 type bridge vlan_filtering 1; ip link set d0 master b0 up; ip link set b0 up; ip addr add fd98::1/64 dev b0 nodad
		bridge vlan add dev d0 vid 9
		nft "add table inet f; add chain inet f i { type filter hook input priority 0; }; add rule inet f i ct state established,related counter accept; add rule inet f i tcp dport { 1, 5-9 } drop"'
	check "$v-net" /run/serializer-check net 10.0.2.2
	lab down
	e2fsck -fn "$out/disk0.img" > "$out/$v-fsck.txt" 2>&1 || die "$v: $(tail -n 3 "$out/$v-fsck.txt")"
	echo "ok    $v-fsck"
	passed=$((passed + 1))
done
echo "$passed passed, 0 failed"
