#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# khoctl.ko for the kernels of the VMs: build/module/RELEASE/khoctl.ko, and beside it the bad modules of hang/ for the tests. modules.sh [RELEASE...]; default: both of the cache.
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "$0")/common.sh"
cache_env
[ $# -gt 0 ] || set -- "$OUTGOING" "$INCOMING"
exec 9> "$cache/modules.lock"	# one tree, one build at a time
flock 9
sources=$(find "$topdir/handover/module" "$topdir/handover/uapi" "$vmdir/hang" -type f | LC_ALL=C sort | xargs sha256sum | sha256sum)
for rel in "$@"; do
	out=$builddir/module/$rel
	stamp="$sources $(stat -c %Y "$cache/kernels/$rel.cpio")"
	[ -f "$out/khoctl.ko" ] && [ "$(cat "$out/stamp" 2> /dev/null)" = "$stamp" ] && continue
	note "  MODULE  $rel"
	mkdir -p "$out"
	"$topdir/handover/module/build.sh" "$rel" "$out" "$cache/build" 9>&-
	"$topdir/handover/module/build.sh" "$rel" "$out" "$cache/build" "$vmdir/hang" 9>&-
	printf '%s\n' "$stamp" > "$out/stamp"
done
