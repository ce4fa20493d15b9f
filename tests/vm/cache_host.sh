# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# The cache's Debian machine with systemd, for `lab up --host`; sourced by cache.sh, which made apt and both kernels before.
#   host/tree/       the machine's files, as Debian's packages and their scripts leave them, then tests/vm/host/ over them
#   host/root.img    a disk: GPT, an ext4 root partition made of that (sparse)
#   host/boot/       kernels and their initrds, to boot from
#   host/snap/       the machine up and running, made by `lab up --host`
#   host/env         HOST_OFFSET (bytes before the file system), HOST_UUID
# Nothing of khoctl is in it: `lab up --host` puts that into its copy.

HOST_SIZE=6G HOST_OFFSET=$((2 << 20)) HOST_UUID=6b686f63-746c-4c61-8b00-000000000001
# what the installer's base system is: all packages of the priorities required and important, but for these
HOST_WITHOUT='^(ifupdown|dhcpcd-base|vim-.*|apt-utils|debconf-i18n|dmidecode|init|tasksel.*)$'
HOST_PKGS=(systemd-sysv libpam-systemd dbus openssh-server cron initramfs-tools zstd busybox grub-pc
	postgresql nginx redis-server redis-tools podman crun netavark containerd runc containernetworking-plugins apparmor
	dmsetup libkmod2 libmnl0 libnftnl11 libarchive13t64 libprotobuf-c1 libjson-c5 libsmartcols1 libmount1 libblkid1
	libdevmapper1.02.1 libelf1t64 libbpf1 libfdt1)

host_base_pkgs() {
	apt apt-cache -t $STABLE dumpavail | awk '/^Package:/ { p = $2 } /^Priority: (required|important)$/ { print p }' |
		grep -vE "$HOST_WITHOUT" | sort -u
}

# in_host TREE SCRIPT: run it there as root, in mount and process namespaces that end with it
in_host() {
	unshare --mount --pid --fork --kill-child sh -euc '
		mount --make-rprivate /
		cd "$1"
		mount -t proc proc proc
		mount -t sysfs -o ro sys sys
		mount -t tmpfs -o mode=755 dev dev
		mkdir dev/pts dev/shm
		mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
		mount -t tmpfs -o mode=1777 shm dev/shm
		for n in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0"; do
			set -- $n "$2"
			mknod -m 666 "dev/$1" c "$2" "$3"
			shift 3; set -- . "$1"
		done
		ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd
		mount -t tmpfs -o mode=755 run run
		exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
			chroot . sh -euc "$2"' sh "$@"
}

# The packages into host/tree.new: the required ones as an installer does it, the others by the tree's own apt. No network.
host_install() {
	local t=$1 base all first f kernels
	shift
	mapfile -t base < <(host_base_pkgs)
	[ ${#base[@]} -ge 40 ] || fail "Debian's base packages are not known: $0 --refresh"
	mapfile -t all < <(closure $STABLE "${base[@]}" "$@" | grep -v '^linux-base_')
	mapfile -t first < <(closure $STABLE base-files base-passwd bash coreutils dash debianutils diffutils dpkg findutils grep gzip \
		hostname init-system-helpers libc-bin login.defs mawk ncurses-bin perl-base sed sysvinit-utils tar util-linux apt)
	# the stable kernel, and as after `apt install -t trixie-backports linux-image-cloud-amd64`
	mapfile -t kernels < <({ kernel_files $KERNEL $STABLE; closure $BACKPORTS $KERNEL/$BACKPORTS; } |
		grep '^linux-' | grep -vE '^linux-(headers|kbuild)-')
	fetch "${all[@]}" "${first[@]}" "${kernels[@]}"
	mkdir -p "$t/var/lib/dpkg" "$t/debs/first" "$t/debs/all"
	skeleton "$t"
	rmdir "$t/data"; rm -f "$t/dev/null"; ln -sfn /run "$t/var/run"
	unpack "$t" "${first[@]}"
	for f in "${first[@]}"; do ln "apt/debs/$f" "$t/debs/first/"; done
	for f in "${all[@]}" "${kernels[@]}"; do ln -f "apt/debs/$f" "$t/debs/all/"; done
	: > "$t/var/lib/dpkg/status"; : > "$t/var/lib/dpkg/available"
	mkdir -p "$t/etc/dpkg/dpkg.cfg.d"
	echo force-unsafe-io > "$t/etc/dpkg/dpkg.cfg.d/lab"
	printf '#!/bin/sh\nexit 101\n' > "$t/usr/sbin/policy-rc.d"; chmod 755 "$t/usr/sbin/policy-rc.d"
	# shellcheck disable=SC2016
	in_host "$t" 'ldconfig
		ln -sf mawk /usr/bin/awk
		dpkg --force-depends --install /debs/first/*.deb
		echo "grub-pc grub-pc/install_devices_empty boolean true" > /debs/answers
		dpkg --force-depends --unpack /debs/all/debconf_*.deb
		dpkg --configure debconf
		debconf-set-selections /debs/answers
		apt-get -y --no-install-recommends --allow-downgrades install /debs/all/*.deb
		dpkg --audit' > host/install.log 2>&1 < /dev/null || { tail -n 30 host/install.log >&2; fail "host: the packages do not install"; }
	rm -rf "$t/debs" "$t/usr/sbin/policy-rc.d" "$t/etc/dpkg/dpkg.cfg.d/lab"
}

make_host_tree() {
	rm -rf --one-file-system host/tree.new host/tree
	mkdir -p host/tree.new
	shift 2 # releases of the kernels: an input only
	host_install host/tree.new "$@"
	add_criu host/tree.new
	rm -rf host/tree.new/usr/share/{doc,man,info,locale,lintian}/* host/tree.new/var/cache/apt/*.bin
	mv host/tree.new host/tree
}

# host_configure TREE: what an operator would have configured, and the lab's own two units (tests/vm/host)
host_configure() {
	local t=$1 rel
	cp -r --no-preserve=ownership "$vmdir/host/." "$t/"
	in_host "$t" 'sh -eu /usr/lib/khoctl-lab/configure' > host/configure.log 2>&1 < /dev/null ||
		{ tail -n 30 host/configure.log >&2; fail "host: the machine cannot be configured"; }
	rm "$t/usr/lib/khoctl-lab/configure"
	for rel in "$OUTGOING" "$INCOMING"; do
		[ -s "$t/boot/initrd.img-$rel" ] || fail "host: initramfs-tools made no initrd of $rel"
	done
}

# That, and the disk.
make_host_image() {
	local t=host/image blocks
	rm -rf --one-file-system $t
	cp -a host/tree $t
	host_configure $t
	printf 'UUID=%s / ext4 errors=remount-ro 0 1\n' "$HOST_UUID" > "$t/etc/fstab"
	rm -f host/root.img.new
	truncate -s "$HOST_SIZE" host/root.img.new
	printf '%s\n' 'label: gpt' 'start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649' \
		"start=$((HOST_OFFSET / 512)), type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709" | sfdisk --quiet host/root.img.new
	# up to the copy of the partition table at the end
	blocks=$((($(stat -c %s host/root.img.new) - HOST_OFFSET - (1 << 20)) / 4096))
	mkfs.ext4 -q -F -b 4096 -L root -U "$HOST_UUID" -d $t \
		-E "offset=$HOST_OFFSET,lazy_itable_init=0,lazy_journal_init=0" host/root.img.new $blocks
	rm -rf host/boot; mkdir host/boot
	cp $t/boot/{vmlinuz,initrd.img}-* host/boot/
	rm -rf --one-file-system $t
	printf 'HOST_OFFSET=%s\nHOST_UUID=%s\n' "$HOST_OFFSET" "$HOST_UUID" > host/env
	mv host/root.img.new host/root.img
}

have_host() {
	need sfdisk mkfs.ext4 unshare
	mkdir -p host
	part host-tree make_host_tree "$OUTGOING" "$INCOMING" "${HOST_PKGS[@]}"
	part host-image make_host_image "$(declare -f host_configure)" "$(cat stamp/host-tree)" \
		"$(cd "$vmdir/host" && find . -type f -exec sha256sum {} + | sort)" "$HOST_SIZE $HOST_OFFSET $HOST_UUID"
}
