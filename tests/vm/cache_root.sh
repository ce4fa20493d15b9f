# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# The Debian machine of cache_host.sh with a root that is no plain ext4 partition, as Debian's installer lays it out; sourced by cache.sh.
#   host/root-tree/   the machine's tree with what the installer adds for such roots: cryptsetup, LVM, xfs, btrfs
#   host/KIND/        luks: "guided - encrypted LVM", /boot beside it; xfs; btrfs: in a subvolume @rootfs
#     tree.img        its files, in an ext4 without partitions; root_image.sh makes the disk of it, in a VM
#     disk.sfdisk     the disk's partitions
#     boot/, env      as in host/; HOST_ROOT: words for the kernel, HOST_PASS: what the initramfs asks for
ROOT_KINDS='luks xfs btrfs'
ROOT_PKGS=(cryptsetup cryptsetup-initramfs systemd-cryptsetup lvm2 xfsprogs btrfs-progs)
ROOT_BOOT_UUID=6b686f63-746c-4c61-8b00-000000000002 ROOT_LUKS_UUID=6b686f63-746c-4c61-8b00-000000000003
ROOT_PASS='correct horse battery'

# The packages that are not in the tree yet, by its own dpkg; no network.
make_root_tree() {
	local t=host/root-tree.new all want=() f
	shift
	rm -rf --one-file-system $t host/root-tree
	cp -a host/tree $t
	mapfile -t all < <(closure $STABLE "$@")
	for f in "${all[@]}"; do
		grep -qx "Package: ${f%%_*}" $t/var/lib/dpkg/status || want+=("$f")
	done
	fetch "${want[@]}"
	mkdir $t/debs
	for f in "${want[@]}"; do ln "apt/debs/$f" $t/debs/; done
	printf '#!/bin/sh\nexit 101\n' > $t/usr/sbin/policy-rc.d; chmod 755 $t/usr/sbin/policy-rc.d
	# (initrds are made when it is known what the root is)
	in_host $t 'mv /usr/sbin/update-initramfs /usr/sbin/update-initramfs.real; ln -s /bin/true /usr/sbin/update-initramfs
		apt-get -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io install /debs/*.deb; dpkg --audit
		mv /usr/sbin/update-initramfs.real /usr/sbin/update-initramfs' > host/root-install.log 2>&1 < /dev/null ||
		{ tail -n 30 host/root-install.log >&2; fail "host: the packages for other roots do not install"; }
	rm -rf $t/debs $t/usr/sbin/policy-rc.d $t/usr/share/{doc,man,info,locale,lintian}/*
	mv $t host/root-tree
}

# root_files KIND TREE: what the installer writes for it: fstab, crypttab, partitions, the kernel's words
root_files() {
	local t=$2 d=host/$1
	case $1 in
	luks)
		printf '%s\n' '/dev/mapper/lab--vg-root / ext4 errors=remount-ro 0 1' "UUID=$ROOT_BOOT_UUID /boot ext4 defaults 0 2" \
			'/dev/mapper/lab--vg-swap_1 none swap sw 0 0' > "$t/etc/fstab"
		printf 'vda3_crypt UUID=%s none luks,discard,x-initrd.attach\n' "$ROOT_LUKS_UUID" > "$t/etc/crypttab"
		echo RESUME=/dev/mapper/lab--vg-swap_1 > "$t/etc/initramfs-tools/conf.d/resume"
		printf '%s\n' 'label: gpt' 'start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649' 'size=512M' \
			'type=CA7D7CCB-63ED-4C53-861C-1742536059CC' > "$d/disk.sfdisk"
		printf '%s\n' 'HOST_ROOT="root=/dev/mapper/lab--vg-root ro"' "HOST_PASS=\"$ROOT_PASS\"" "HOST_LUKS_UUID=$ROOT_LUKS_UUID" \
			"HOST_BOOT_UUID=$ROOT_BOOT_UUID" > "$d/env"
		;;
	xfs|btrfs)
		if [ "$1" = xfs ]; then
			printf 'UUID=%s / xfs defaults 0 0\n' "$HOST_UUID" > "$t/etc/fstab"
		else
			printf 'UUID=%s / btrfs defaults,subvol=@rootfs 0 0\n' "$HOST_UUID" > "$t/etc/fstab"
		fi
		printf '%s\n' 'label: gpt' 'start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649' \
			'type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709' > "$d/disk.sfdisk"
		printf 'HOST_ROOT="root=UUID=%s ro%s"\n' "$HOST_UUID" "$([ "$1" = xfs ] || echo ' rootflags=subvol=@rootfs')" > "$d/env"
		;;
	esac
	printf 'HOST_UUID=%s\n' "$HOST_UUID" >> "$d/env"
}

make_root_image() {
	local kind=$1 d=host/$1 t=host/$1/tree
	rm -rf --one-file-system "$d"
	mkdir -p "$d/boot"
	cp -a host/root-tree "$t"
	root_files "$kind" "$t"
	host_configure "$t"
	# (the tree's initrds are of before; the word initramfs says what cryptsetup's hook would see on the machine itself)
	in_host "$t" 'cp -p /etc/crypttab /run/; sed -i "s/none luks/&,initramfs/" /etc/crypttab
		update-initramfs -u -k all; cp -p /run/crypttab /etc/' > "$d/initramfs.log" 2>&1 < /dev/null ||
		{ tail -n 30 "$d/initramfs.log" >&2; fail "host: no initrd for a root on $kind"; }
	touch "$t/etc/.updated" "$t/var/.updated"
	cp "$t"/boot/{vmlinuz,initrd.img}-* "$d/boot/"
	mkfs.ext4 -q -F -d "$t" -E lazy_itable_init=0,lazy_journal_init=0 "$d/tree.img" 2G
	rm -rf --one-file-system "$t"
}

have_root() {
	[[ " $ROOT_KINDS " = *" $1 "* ]] || fail "a root on '$1': $ROOT_KINDS"
	part root-tree make_root_tree "$(cat stamp/host-tree)" "${ROOT_PKGS[@]}"
	part "root-$1" make_root_image "$1" "$(declare -f root_files host_configure)" "$(cat stamp/root-tree stamp/host-image)" "$ROOT_BOOT_UUID $ROOT_LUKS_UUID $ROOT_PASS"
}
