#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Makes the initramfs of a VM: the cached userland and kernels (cpio archives, used as they are) and on top of them what was
# built here: khoctl, khoctl.ko for each kernel, the lab's init and agent. A few seconds, because only the last part is made anew.
#   image.sh OUT RELEASE...
#   image.sh --tree DIR RELEASE...	only what was built here, as `make install` puts it, into a directory (`lab up --host`)
# What is put in from the checkout: tests/vm/root/ as it is; build/khoctl* to /usr/sbin (--tree: as `make install` does);
# build/module/RELEASE/khoctl.ko to /lib/modules/RELEASE/updates. $LAB_OVERLAY: a directory more.
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "$0")/common.sh"
tree=
[ "${1:-}" != --tree ] || { tree=1; shift; }
[ $# -ge 2 ] || fail "usage: image.sh [--tree] OUT RELEASE..."
need cpio flock
out=$1
shift
work=$builddir/vm/image
mkdir -p "$work" "$(dirname "$out")"
# labs of one checkout that come up at the same time share the folder
exec 7> "$work/lock"
flock 7

# modules RELEASE: archive with our module and the lists that depmod makes; kept until the module changes
modules() {
	local rel=$1 ko=$builddir/module/$1/khoctl.ko t=$work/$1 k=$cache/kernels/$1/usr/lib/modules/$1
	if [ ! -f "$ko" ]; then
		note "image: no khoctl.ko for $rel ('make modules' builds it): the VM will have none"
		return
	fi
	if [ ! "$t.cpio" -nt "$ko" ] || [ ! "$t.cpio" -nt "$cache/kernels/$rel.cpio" ]; then
		rm -rf "$t"; mkdir -p "$t/lib/modules/$rel/updates"
		ln -s "$k/kernel" "$k/modules.order" "$k"/modules.builtin* "$t/lib/modules/$rel/" 2> /dev/null || true
		find "$t" -name '*.bin' -delete
		cp "$ko" "$t/lib/modules/$rel/updates/"
		strip --strip-debug "$t/lib/modules/$rel/updates/khoctl.ko"
		depmod_in "$t" "$rel"
		find "$t/lib/modules/$rel" -maxdepth 1 -type l -delete
		mkdir "$t/usr"; mv "$t/lib" "$t/usr/"
		(cd "$t" && find usr -mindepth 1 | LC_ALL=C sort | cpio -o -H newc --quiet -R 0:0) > "$t.cpio.new"
		mv "$t.cpio.new" "$t.cpio"
	fi
	if [ "$tree" ]; then (cd "$out" && cpio -i -d -m --quiet < "$t.cpio"); else cat "$t.cpio"; fi
}

# installed DIR: what `make install` gives an operator
installed() {
	make -s -C "$topdir" install DESTDIR="$1" > "$work/install.log" 2>&1 || { tail -n 5 "$work/install.log" >&2; fail "make install"; }
	rm -rf "$1/usr/src"
	strip "$1"/usr/sbin/khoctl "$1"/usr/lib/khoctl/khoctl-incoming
}

# programs DIR: the lab's
programs() {
	local t=$1
	mkdir -p "$t/usr/sbin" "$t/usr/lib/khoctl-lab" "$t/usr/lib/khoctl" "$t/etc/khoctl/workloads.d"
	chmod 700 "$t/etc/khoctl" "$t/etc/khoctl/workloads.d"
	install -m 755 "$builddir/tests/vm/vmagent" "$t/usr/lib/khoctl-lab/"
	# several emulated machines on two CPUs: how late a thread runs says something of these, not of the kernel
	(umask 077; echo 'gate-limits = timer=2000000,wakeup=2000000' >> "$t/etc/khoctl/khoctl.conf")
	[ -z "${LAB_OVERLAY:-}" ] || cp -r "$LAB_OVERLAY/." "$t/"
}

overlay() {
	local t=$work/overlay f
	rm -rf "$t"; mkdir -p "$t"
	cp -r "$vmdir/root/." "$t/"
	install -m 755 "$builddir/tests/vm/init" "$t/init"
	programs "$t"
	for f in "$builddir"/khoctl*; do
		if [ -f "$f" ] && [ -x "$f" ]; then install -m 755 -s "$f" "$t/usr/sbin/"; fi
	done
	pack_tree "$t"
}

for f in init vmagent; do [ -x "$builddir/tests/vm/$f" ] || fail "build/tests/vm/$f is missing: run 'make' first"; done
if [ "$tree" ]; then
	rm -rf "$out"; mkdir -p "$out"
	out=$(readlink -f "$out")
	for rel in "$@"; do modules "$rel"; done
	installed "$out"
	programs "$out"
	exit 0
fi
{
	cat "$cache/user.cpio"
	for rel in "$@"; do cat "$cache/kernels/$rel.cpio"; modules "$rel"; done
	overlay
} > "$out.new"
mv "$out.new" "$out"
