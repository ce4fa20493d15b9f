# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# What cache.sh, image.sh and lab share: where things are, and how to speak. Sourced.

vmdir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
topdir=$(cd "$vmdir/../.." && pwd)
export builddir=$topdir/build
cache=${XDG_CACHE_HOME:-$HOME/.cache}/khoctl

note() { printf '%s\n' "$*" >&2; }
fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
need() {	# need COMMAND...: every one, or the way to get them
	local c
	for c in "$@"; do
		command -v "$c" > /dev/null || fail "the command '$c' is missing: run 'make deps' first"
	done
}

# Reads out of the cache which kernels play which part: $OUTGOING, $INCOMING (releases), $QEMU (path).
cache_env() {
	[ -f "$cache/env" ] || fail "the VM cache is not built: run 'make vm-cache' first"
	# shellcheck disable=SC1091
	. "$cache/env"
}

# depmod_in ROOT RELEASE: the cached tree's depmod (this machine may have none, or one that is too old)
depmod_in() {
	local b=$cache/build
	"$b/usr/lib64/ld-linux-x86-64.so.2" --library-path "$b/usr/lib/x86_64-linux-gnu" --argv0 depmod "$b/usr/bin/kmod" -b "$1" "$2"
}

# pack_tree DIR: all that is in it, as an archive for an initramfs, to standard output
pack_tree() { (cd "$1" && find . -mindepth 1 | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0); }

# keep_kernel TREE RELEASE: TREE, a folder in kernels/ of the cache (boot, usr/lib/modules, and lib -> usr/lib for depmod), becomes
# kernels/RELEASE, and kernels/RELEASE.cpio is made of it
keep_kernel() {
	local to=$cache/kernels/$2
	depmod_in "$1" "$2"
	rm "$1/lib"
	pack_tree "$1" > "$to.cpio.new"
	rm -rf "$to"; mv "$1" "$to"; mv "$to.cpio.new" "$to.cpio"
}
