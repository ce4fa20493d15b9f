#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The cache of the VM tests, in ${XDG_CACHE_HOME:-~/.cache}/khoctl:
#   apt/        a private apt: stable, its backports and testing, from the mirror this machine already uses
#   build/      Debian 13 tree with gcc and the headers of the kernels; modules are built in it
#   qemu/       QEMU of Debian 13, run through its own ld.so (only where this machine's own QEMU is older than 9)
#   kernels/    RELEASE/ (vmlinuz and all modules as shipped) and RELEASE.cpio
#   user/       the VM's userland, and user.cpio
#   packages/   single packages that a test asked for
#   host/       a Debian machine with systemd, for `lab up --host` (cache_host.sh); only where it was asked for
#   env         OUTGOING, INCOMING, QEMU for the scripts
#
#   cache.sh                      make what is missing or whose recipe changed; may be interrupted at any time
#   cache.sh --refresh            look for newer packages as well
#   cache.sh kernel PKG[/SUITE]   fetch one more kernel, print its release (the last line)
#   cache.sh kernel built/NAME    build one that nobody packages (cache_kernels.sh), print its release (the last line)
#   cache.sh host [KIND]          the same, and host/; KIND: host/KIND/, too (cache_root.sh)
#   cache.sh package PKG[/SUITE]...  unpack packages (of one suite), nothing that they depend on; print their folders (the last lines)
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "$0")/common.sh"
# shellcheck source=tests/vm/cache_host.sh
. "$(dirname "$0")/cache_host.sh"
# shellcheck source=tests/vm/cache_root.sh
. "$(dirname "$0")/cache_root.sh"
# shellcheck source=tests/vm/cache_kernels.sh
. "$(dirname "$0")/cache_kernels.sh"

STABLE=trixie BACKPORTS=trixie-backports TESTING=forky
KERNEL=linux-image-cloud-amd64
CRIU_MIN=4.2.1
BUILD_PKGS=(gcc-14 make binutils libelf1t64 libssl3t64 zlib1g pahole kmod xz-utils bash dash coreutils sed grep mawk
	findutils diffutils tar gzip bc perl-base libc-bin)
USER_PKGS=(base-files base-passwd bash dash coreutils libc-bin mawk grep sed findutils diffutils util-linux mount procps kmod
	iproute2 nftables redis-server redis-tools dmsetup busybox e2fsprogs login.defs libkmod2 libmnl0 libnftnl11 libzstd1
	libarchive13t64 libprotobuf-c1 libjson-c5 libsmartcols1 libmount1 libblkid1 libdevmapper1.02.1 libelf1t64 libbpf1
	libfdt1)
# what the VM does not need of its packages
PRUNE=(./usr/share/doc ./usr/share/man ./usr/share/info ./usr/share/locale ./usr/share/i18n ./usr/share/lintian
	./usr/share/bug ./usr/share/perl5 ./usr/share/bash-completion ./usr/share/common-licenses ./usr/share/zsh
	./usr/share/pixmaps ./usr/share/menu ./usr/lib/systemd ./usr/lib/x86_64-linux-gnu/gconv ./usr/share/debconf
	./usr/lib/x86_64-linux-gnu/perl-base ./usr/bin/perl\* ./var/lib/dpkg ./usr/share/awk ./usr/share/apport)

say() { note "  CACHE   $*"; }

# The mirror as apt resolves it (one-line or deb822 sources, mirror lists): Debian's own archive, not its security one.
mirror() {
	[ -z "${KHOCTL_MIRROR:-}" ] || { printf '%s\n' "$KHOCTL_MIRROR"; return; }
	# shellcheck disable=SC2016
	apt-get indextargets --format '$(REPO_URI)|$(ORIGIN)|$(SUITE)|$(CODENAME)' 'Created-By: Packages' | awk -F'|' '
		/security/ { next }
		$1 ~ /\/debian\/?$/ || $1 ~ /debian\.list\/?$/ { best = best ? best : $1 }
		$2 == "Debian" { named = named ? named : $1 }
		{ any = any ? any : $1 }
		END { print best ? best : named ? named : any }'
}

make_apt() {
	local m key='' s f
	m=$(mirror)
	[ -n "$m" ] || fail "apt knows no Debian archive on this machine: add one to /etc/apt, or set KHOCTL_MIRROR"
	for f in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do [ ! -f "$f" ] || key=${key:-$f}; done
	[ -n "$key" ] || fail "Debian's archive keys are missing: apt-get install debian-archive-keyring"
	mkdir -p apt/lists/partial apt/cache/archives/partial apt/debs
	: > apt/status
	for s in $STABLE $BACKPORTS $TESTING; do printf 'deb [arch=amd64 signed-by=%s] %s %s main\n' "$key" "$m" "$s"; done > apt/sources.list
	cat > apt/apt.conf <<-E
		Dir::Etc::sourcelist "$cache/apt/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		Dir::State "$cache/apt";
		Dir::State::status "$cache/apt/status";
		Dir::State::Lists "$cache/apt/lists";
		Dir::Cache "$cache/apt/cache";
		#clear APT::Architectures;
		APT::Architecture "amd64";
		APT::Architectures { "amd64"; };
		APT::Default-Release "$STABLE";
		APT::Sandbox::User "root";
		Acquire::Languages "none";
		Acquire::Retries "3";
	E
	update
}
apt() { APT_CONFIG=$cache/apt/apt.conf "$@"; }
updated=
update() { say "package lists"; apt apt-get -qq update; updated=1; }

# closure SUITE PKG...: the file names of the packages and of all they depend on (no recommends, empty machine)
closure() { apt apt-get -qq -t "$1" install --no-install-recommends --print-uris "${@:2}" | awk '{ print $2 }'; }

# fetch FILE...: into apt/debs; lists that are too old are renewed once
fetch() {
	local f v want=()
	for f in "$@"; do
		[ -f "apt/debs/$f" ] && continue
		v=${f#*_}; v=${v%_*}
		want+=("${f%%_*}=${v//%3a/:}")
	done
	[ ${#want[@]} -gt 0 ] || return 0
	rm -rf apt/part; mkdir -p apt/part
	(cd apt/part && apt apt-get -qq download "${want[@]}") || {
		[ -z "$updated" ] || fail "packages could not be fetched"
		fail "packages could not be fetched; the lists may be old: $0 --refresh"
	}
	mv apt/part/*.deb apt/debs/
}

# unpack ROOT FILE... [-- TAR-OPTION...]: no maintainer scripts are run
unpack() {
	local root=$1 files=() f
	shift
	while [ $# -gt 0 ] && [ "$1" != -- ]; do files+=("$1"); shift; done
	[ $# -eq 0 ] || shift
	for f in "${files[@]}"; do
		dpkg-deb --fsys-tarfile "apt/debs/$f" | tar -x -C "$root" --keep-directory-symlink "$@"
	done
}

# skeleton ROOT: what the packages' scripts would have made
skeleton() {
	local d
	mkdir -p "$1"/usr/{bin,sbin,lib,lib64} "$1"/{dev,proc,sys,run,tmp,root,mnt,boot,data,etc,var/lib,var/log}
	for d in bin sbin lib lib64; do ln -sfn "usr/$d" "$1/$d"; done
	ln -sfn /run "$1/var/run"
	chmod 1777 "$1/tmp"; chmod 700 "$1/root"
	[ -c "$1/dev/null" ] || mknod -m 666 "$1/dev/null" c 1 3
}
finish_tree() {
	ln -sfn mawk "$1/usr/bin/awk"
	[ -e "$1/usr/bin/sh" ] || ln -s dash "$1/usr/bin/sh"
	chroot "$1" /sbin/ldconfig
}

# new_tree NAME SUITE PKG... [-- TAR-OPTION...]: NAME.new, of the packages and all they depend on (without TAR-OPTION: but their documentation)
new_tree() {
	local name=$1 suite=$2 files pkgs=()
	shift 2
	while [ $# -gt 0 ] && [ "$1" != -- ]; do pkgs+=("$1"); shift; done
	if [ $# -gt 0 ]; then shift; else set -- --exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale; fi
	mapfile -t files < <(closure "$suite" "${pkgs[@]}")
	[ ${#files[@]} -gt 0 ] || fail "$name: $suite does not have what it is made of"
	fetch "${files[@]}"
	rm -rf "$name.new"; mkdir "$name.new"
	skeleton "$name.new"
	unpack "$name.new" "${files[@]}" -- "$@"
}

make_build() {
	new_tree build $STABLE "$@"
	finish_tree build.new
	ln -sfn gcc-14 build.new/usr/bin/gcc
	mkdir -p build.new/usr/src
	! mountpoint -q build/proc || umount build/proc
	rm -rf --one-file-system build
	rm -f stamp/kernel-* # their headers were in it
	mv build.new build
}

make_qemu() {	# make_qemu SUITE PKG...
	new_tree qemu "$@"
	rm -rf qemu; mv qemu.new qemu
	cat > qemu-system-x86_64.new <<-'E'
		#!/bin/sh
		# QEMU of Debian 13 on an older machine: its own ld.so and libraries
		r=$(dirname "$(readlink -f "$0")")/qemu
		export QEMU_MODULE_DIR="$r/usr/lib/x86_64-linux-gnu/qemu"
		exec "$r/usr/lib64/ld-linux-x86-64.so.2" --library-path "$r/usr/lib/x86_64-linux-gnu" "$r/usr/bin/qemu-system-x86_64" \
			-L "$r/usr/share/qemu" -L "$r/usr/share/seabios" -L "$r/usr/lib/ipxe/qemu" "$@"
	E
	chmod 755 qemu-system-x86_64.new; mv qemu-system-x86_64.new qemu-system-x86_64
	./qemu-system-x86_64 --version > /dev/null || fail "the cached QEMU does not run here"
}
# The machine's own QEMU, if it is new enough: 7.2's TCG patches code under the running guest's feet and oopses stock kernels.
host_qemu() {
	local v
	command -v qemu-system-x86_64 > /dev/null || return 1
	v=$(qemu-system-x86_64 --version | sed -n 's/.*version \([0-9]*\).*/\1/p')
	[ "${v:-0}" -ge 9 ] && command -v qemu-system-x86_64
}

# kernel_files PKG SUITE: image, modules and headers of one kernel (the numbered packages, out of the closure of the meta-packages)
kernel_files() {
	local h=${1/linux-image-/linux-headers-}
	closure "$2" "$1/$2" "${h%-unsigned}/$2" | grep -E '^linux-(image|base|binary|modules|headers|kbuild)-[0-9]'
}

# kernel PKG SUITE: unpacks into kernels/RELEASE, packs kernels/RELEASE.cpio; prints RELEASE
make_kernel() {
	local files rel t=kernels/new.$$ image
	mapfile -t files < <(kernel_files "$1" "$2")
	[ ${#files[@]} -ge 4 ] || fail "no kernel package $1 in $2"
	fetch "${files[@]}"
	rm -rf kernels/new.*; mkdir -p "$t/usr/lib" "$t/boot"; ln -s usr/lib "$t/lib"
	for f in "${files[@]}"; do
		case $f in linux-headers-*|linux-kbuild-*) ;; *) unpack "$t" "$f" -- --exclude=./usr/share ;; esac
	done
	rel=$(cd "$t/usr/lib/modules" && set -- * && [ $# = 1 ] && [ -d "$1" ] && echo "$1") || fail "$1: not exactly one release"
	image=$t/boot/vmlinuz-$rel
	[ -f "$image" ] || mv "$t/usr/lib/modules/$rel/vmlinuz" "$image"
	[ -f "$t/boot/config-$rel" ] || mv "$t/usr/lib/modules/$rel/config" "$t/boot/config-$rel"
	rm -rf "$t"/boot/System.map* "$t/usr/lib/modules/$rel"/{System.map,vmlinuz,build,source} "$t/usr/src"
	keep_kernel "$t" "$rel"
	for f in "${files[@]}"; do
		case $f in linux-headers-*|linux-kbuild-*) unpack build "$f" -- --exclude=./usr/share ;; esac
	done
	echo "$rel"
}

# whole_kernel RELEASE: it is unpacked and packed, and its headers are in the build tree (which may be newer than the kernel)
whole_kernel() {
	[ -f "kernels/$1/boot/vmlinuz-$1" ] && [ -f "kernels/$1.cpio" ] && [ -f "build/usr/lib/modules/$1/build/Makefile" ]
}

# have_kernel PKG SUITE: make_kernel unless it is there; $kernel_release
have_kernel() {
	local key=kernel-$1-$2 sum
	sum=$({ declare -f make_kernel kernel_files keep_kernel pack_tree; cat stamp/build; } | sha256sum)
	if [ "$(head -1 "stamp/$key" 2>/dev/null)" = "$sum" ]; then
		kernel_release=$(sed -n 2p "stamp/$key")
		! whole_kernel "$kernel_release" || return 0
	fi
	rm -f "stamp/$key"
	say "kernel $1 of $2"
	make_kernel "$1" "$2" > kernels/release
	kernel_release=$(cat kernels/release)
	printf '%s\n%s\n' "$sum" "$kernel_release" > "stamp/$key"
}

# have_packages SUITE PKG...: unpacked; prints their folders
have_packages() {
	local suite=$1 files p f folder
	shift
	files=$(closure "$suite" "$@")
	for p in "$@"; do
		f=$(grep "^${p}_" <<< "$files") || fail "$suite has no package '$p'"
		folder=packages/${f%.deb}
		if [ ! -d "$folder" ]; then
			fetch "$f"
			rm -rf "$folder.new"; mkdir -p "$folder.new"
			unpack "$folder.new" "$f"
			mv "$folder.new" "$folder"
		fi
		echo "$cache/$folder"
	done
}

# soname_pkg SONAME: Debian's name for the package of a library
soname_pkg() {
	local n=${1%%.so.*} v=${1##*.so.}
	case $n in *[0-9]) echo "$n-$v" ;; *) echo "$n$v" ;; esac
}

# add_criu ROOT: testing's criu on stable's C library; the libraries that are missing or too old are found by trying
add_criu() {
	local root=$1 all out lib pkg f i have
	mapfile -t all < <(closure $TESTING criu)
	add_one() {
		for f in "${all[@]}"; do
			case $f in "$1"_*|"$1"t64_*) fetch "$f"; unpack "$root" "$f" -- --exclude=./usr/share; return ;; esac
		done
		fail "criu: nothing in $TESTING provides $1"
	}
	add_one criu
	for i in $(seq 20); do
		chroot "$root" /sbin/ldconfig
		if out=$(chroot "$root" /usr/sbin/criu --version 2>&1); then break; fi
		lib=$(sed -n -e 's/.*loading shared libraries: \([^:]*\):.*/\1/p' -e 's|.*/\([^/:]*\): version .* not found.*|\1|p' \
			-e 's|.*/\([^/:]*\): undefined symbol.*|\1|p' <<< "$out" | head -1)
		pkg=$(soname_pkg "$lib")
		if [ -z "$lib" ] || [ "$lib" = libc.so.6 ] || [ "$i" = 20 ]; then
			fail "criu of $TESTING does not run on $STABLE: $out"
		fi
		add_one "$pkg"
	done
	have=$(sed -n 's/^Version: *//p' <<< "$out")
	[ "$(printf '%s\n' "$CRIU_MIN" "$have" | sort -V | head -1)" = "$CRIU_MIN" ] || fail "criu $have is older than $CRIU_MIN"
	say "criu $have"
}

make_user() {
	local ex=() p
	for p in "${PRUNE[@]}"; do ex+=("--exclude=$p"); done
	new_tree user $STABLE "$@" -- --wildcards "${ex[@]}"
	finish_tree user.new
	cp user.new/usr/share/base-passwd/passwd.master user.new/etc/passwd
	cp user.new/usr/share/base-passwd/group.master user.new/etc/group
	echo 'root:*:::::::' > user.new/etc/shadow; chmod 600 user.new/etc/shadow
	printf 'root::0:0:root:/root:/bin/bash\n' > user.new/etc/passwd.root
	{ cat user.new/etc/passwd.root; grep -v '^root:' user.new/etc/passwd; } > user.new/etc/passwd.new
	mv user.new/etc/passwd.new user.new/etc/passwd; rm user.new/etc/passwd.root
	printf 'passwd: files\ngroup: files\nhosts: files dns\n' > user.new/etc/nsswitch.conf
	printf '127.0.0.1 localhost\n' > user.new/etc/hosts
	echo lab > user.new/etc/hostname
	add_criu user.new
	rm -rf user.new/dev/null user.new/etc/init.d user.new/etc/cron* user.new/usr/include
	rm -rf user; mv user.new user
	pack_tree user > user.cpio.new
	mv user.cpio.new user.cpio
}

# part NAME FUNCTION INPUT...: run it unless the recipe and its inputs are those of the last time
part() {
	local name=$1 fn=$2 sum
	shift 2
	sum=$({ declare -f "$fn" skeleton finish_tree unpack; [[ $(declare -f "$fn") != *new_tree* ]] || declare -f new_tree pack_tree
		[ "$name" != user ] || { declare -f add_criu; echo "$CRIU_MIN ${PRUNE[*]}"; }
		[ "$name" != host-tree ] || { declare -f add_criu host_install host_base_pkgs in_host; echo "$CRIU_MIN $HOST_WITHOUT"; }
		printf '%s\n' "$@"; } | sha256sum)
	[ "$(cat "stamp/$name" 2>/dev/null)" != "$sum" ] || return 0
	say "$name"
	rm -f "stamp/$name" # an interrupted run must not leave it valid
	"$fn" "$@"
	printf '%s\n' "$sum" > "stamp/$name"
}

[ "$(id -u)" = 0 ] || fail "must be root (it makes Debian trees with their owners)"
need apt-get dpkg-deb cpio flock sha256sum chroot
mkdir -p "$cache/stamp" "$cache/kernels"
# a kernel is built for minutes, and meanwhile the cache is open to others: its own lock comes first
if [ "${1:-}" = kernel ] && [[ ${2:-} = built/* ]]; then
	exec 6> "$cache/built.lock"
	flock 6
fi
exec 9> "$cache/lock"
flock -n 9 || { say "another run is at work, waiting"; flock 9; }
cd "$cache"
umask 022
if [ "${1:-}" = --refresh ]; then
	shift
	rm -f stamp/apt stamp/user stamp/host-* stamp/root-* stamp/kernel-*
fi
part apt make_apt "$(mirror)" "$STABLE $BACKPORTS $TESTING"
part build make_build "${BUILD_PKGS[@]}"
if [ "${1:-}" = kernel ]; then
	[ -n "${2:-}" ] || fail "kernel: which package?"
	suite=$STABLE; [ "${2%/*}" = "$2" ] || suite=${2#*/}
	if [[ $2 = built/* ]]; then have_built "${2#built/}"; else have_kernel "${2%/*}" "$suite"; fi
	echo "$kernel_release"
	exit 0
fi
if [ "${1:-}" = package ]; then
	shift
	[ $# -gt 0 ] || fail "package: which one?"
	suite=$STABLE; [ "${1%/*}" = "$1" ] || suite=${1#*/}
	have_packages "$suite" "${@%/*}"
	exit 0
fi
[ "${1:-}" = host ] || [ $# = 0 ] || fail "unknown argument '$1'"
if ! QEMU=$(host_qemu); then
	part qemu make_qemu $BACKPORTS qemu-system-x86
	QEMU=$cache/qemu-system-x86_64
fi
have_kernel $KERNEL $STABLE; OUTGOING=$kernel_release
have_kernel $KERNEL $BACKPORTS; INCOMING=$kernel_release
part user make_user "${USER_PKGS[@]}"
printf 'OUTGOING=%s\nINCOMING=%s\nQEMU=%s\n' "$OUTGOING" "$INCOMING" "$QEMU" > env.new
mv env.new env
[ "${1:-}" != host ] || have_host
[ "${1:-}" != host ] || [ -z "${2:-}" ] || have_root "$2"
