#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Build khoctl.ko for one kernel release, out of tree: build.sh RELEASE OUTDIR [CHROOT [FOLDER]]
# With CHROOT the headers and the compiler of that root are used (its /usr/src/linux-headers-RELEASE),
# else this machine's ("" as well).  FOLDER: another module's sources and Kbuild.  The result is
# OUTDIR/khoctl.ko (its .ko files); on failure the log is shown.
set -eu

if [ $# -lt 2 ] || [ $# -gt 4 ]; then
	echo "usage: ${0##*/} RELEASE OUTDIR [CHROOT [FOLDER]]" >&2
	exit 2
fi
release=$1
out=$2
root=${3:-}
here=$(cd "$(dirname "$0")" && pwd)

work=$(mktemp -d "${root}/tmp/khoctl-module.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
from=${4:-$here}
cp "$from"/*.[chS] "$from/Kbuild" "$work/"
mkdir "$work/uapi"
cp "$here"/../uapi/*.h "$work/uapi/"

headers=/usr/src/linux-headers-$release
if [ ! -d "$root$headers" ]; then headers=/lib/modules/$release/build; fi
log=$work/log
if [ -n "$root" ]; then
	# a mount namespace of its own: objtool of newer kernels reads /proc/self/limits
	# shellcheck disable=SC2016
	unshare -m sh -c 'mount -t proc proc "$1/proc" && exec chroot "$1" make -C "$2" M="$3" modules' \
		sh "$root" "$headers" "${work#"$root"}" >"$log" 2>&1 || failed=1
else
	make -C "$headers" M="$work" modules >"$log" 2>&1 || failed=1
fi
if [ -n "${failed:-}" ]; then
	cat "$log" >&2
	exit 1
fi
grep -i 'warning' "$log" >&2 || true
mkdir -p "$out"
cp "$work"/*.ko "$out/"
