#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Debian 13's own dkms builds and installs khoctl.ko for both kernels of the cache, from what `make install` lays out: without a
# warning of dkms, make or the compiler, with the release in its vermagic, where depmod and khoctl find it. No VM; the cached
# Debian tree is used through an overlay and stays as it is.
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "$0")/common.sh"
cache_env
passed=0
out=$builddir/dkms
rm -rf "$out"; mkdir -p "$out"/{upper,work,root}
die() { printf 'FAIL: %s\n' "$*" >&2; exit 1; }
ok() { echo "ok    $*"; passed=$((passed + 1)); }
package() { "$vmdir/cache.sh" package "$1" | tail -n 1; }

lower=$(package dkms):$(package patch):$cache/kernels/$OUTGOING:$cache/kernels/$INCOMING:$cache/build
# what a package of khoctl would put into /usr/src
make -s -C "$topdir" install DESTDIR="$out/install" > "$out/install.log" 2>&1 || { cat "$out/install.log"; die "make install"; }
src=$(cd "$out/install/usr/src" && echo khoctl-*)
mkdir -p "$out/upper/usr/src"
cp -R "$out/install/usr/src/$src" "$out/upper/usr/src/"
version=${src#khoctl-}
grep -qx "PACKAGE_VERSION=\"$version\"" "$out/upper/usr/src/$src/dkms.conf" || die "dkms.conf and its folder $src name different versions"

# in_root COMMAND...: in the tree, in a mount namespace of its own
in_root() {
	# shellcheck disable=SC2016
	unshare -m sh -c 'mount -t overlay dkms -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root" &&
		mount -t proc proc "$2/root/proc" && mount --bind /dev "$2/root/dev" && r=$2/root && shift 2 && exec chroot "$r" "$@"' \
		sh "$lower" "$out" "$@"
}

in_root dkms add "khoctl/$version" > "$out/add.log" 2>&1 || { cat "$out/add.log"; die "dkms add"; }
for rel in "$OUTGOING" "$INCOMING"; do
	re=${rel//+/\\+}
	in_root dkms build "khoctl/$version" -k "$rel" > "$out/build.$rel.log" 2>&1 || { cat "$out/build.$rel.log"; die "dkms build for $rel"; }
	in_root sh -c "cat /var/lib/dkms/khoctl/$version/$rel/*/log/make.log" > "$out/make.$rel.log"
	! grep -iE 'warning|deprecated' "$out/build.$rel.log" "$out/make.$rel.log" || die "dkms build for $rel is not free of warnings"
	grep -qE '^ *(CC|LD) .*khoctl' "$out/make.$rel.log" || die "the log of dkms for $rel shows no build"
	in_root dkms install "khoctl/$version" -k "$rel" > "$out/install.$rel.log" 2>&1 || { cat "$out/install.$rel.log"; die "dkms install for $rel"; }
	in_root dkms status > "$out/status" 2>&1
	grep -qE "^khoctl/$version, $re, x86_64: installed" "$out/status" || { cat "$out/status"; die "dkms does not say that it is installed for $rel"; }
	in_root modinfo -k "$rel" khoctl > "$out/modinfo.$rel" 2>&1 || die "modinfo finds no khoctl for $rel"
	grep -qE "^filename: +/(usr/)?lib/modules/$re/updates/dkms/khoctl\.ko" "$out/modinfo.$rel" || die "not in updates/dkms: $(head -1 "$out/modinfo.$rel")"
	grep -qE "^vermagic: +$re " "$out/modinfo.$rel" || die "another vermagic: $(grep vermagic "$out/modinfo.$rel")"
	ok "dkms build and install for $rel, no warning"
done
in_root dkms remove "khoctl/$version" --all > "$out/remove.log" 2>&1 || { cat "$out/remove.log"; die "dkms remove"; }
[ -z "$(in_root sh -c 'find /lib/modules -name "khoctl.ko*"')" ] || die "dkms remove leaves the module behind"
ok "dkms remove"
echo "$passed passed, 0 failed"
