#!/usr/bin/env bash
# Serializers on one kernel, on each of the two: packets held and released, a NIC and disks that pretend to change hands
# (build/serializer-check says what it checks). Afterwards the disks' file systems are checked outside the VM.
set -euo pipefail
LABNAME=serializers
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
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

for kernel in linux-image-cloud-amd64/trixie linux-image-cloud-amd64/trixie-backports; do
	lab down > /dev/null 2>&1 || true
	rm -f "$out"/disk*.img; truncate -s 64M "$out/disk0.img" "$out/disk1.img"
	# one partition, Linux, from sector 2048 to the end
	printf '\0\0\0\0\203\0\0\0\0\10\0\0\0\370\1\0' | dd of="$out/disk1.img" bs=1 seek=446 conv=notrunc status=none
	printf '\125\252' | dd of="$out/disk1.img" bs=1 seek=510 conv=notrunc status=none
	lab up --outgoing "$kernel" --cpus 2 --mem 2048 -- \
		-drive "if=none,id=x0,format=raw,file=$out/disk0.img" -device virtio-blk-pci,drive=x0,serial=check-0,disable-legacy=on \
		-drive "if=none,id=x1,format=raw,file=$out/disk1.img" -device virtio-blk-pci,drive=x1,serial=check-1,disable-legacy=on \
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
		check "$v-disk$i" sh -c '/run/serializer-check block $(sed "s/1\$//" /run/d'$i') /mnt/x'
	done
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
