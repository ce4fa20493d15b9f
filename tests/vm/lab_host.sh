# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# What `lab up --host` does in another way than `lab up`: the machine is Debian on a root disk, with systemd. Sourced by lab.
# The disk is a copy of the cache's, with what was built here written into it (debugfs: nothing is mounted, no loop device).

root_serial=khoctl-lab-root

# host_disk RELEASE...: $disk, and that each release can be booted from it
host_disk() {
	local rel tree=$dir/put
	need debugfs cpio
	"$vmdir/cache.sh" host
	# shellcheck disable=SC1091
	. "$cache/host/env"
	disk_serial=$root_serial
	for rel in "$@"; do
		[ -f "$cache/host/boot/initrd.img-$rel" ] || fail "up --host: $rel is not installed on that machine"
	done
	"$vmdir/image.sh" --tree "$tree" "$@"
	[ -z "$disk" ] || return 0
	disk=$dir/root.img
	rm -f "$dir"/{data,extra}.img "$dir/initrd"
	cp --sparse=always "$cache/host/root.img" "$disk"
	host_write "$tree"
}

# host_write TREE: its files into the disk, with their modes; folders that are there already stay as they are
host_write() {
	local f out=$dir/put.out
	(
		cd "$1"
		find . -mindepth 1 -type d -printf '%P\n' | LC_ALL=C sort | while read -r f; do
			printf 'mkdir "/%s"\nsif "/%s" mode 040%s\n' "$f" "$f" "$(stat -c %a "$f")"
		done
		find . -type f -printf '%P\n' | while read -r f; do printf 'rm "/%s"\nwrite "%s" "/%s"\n' "$f" "$PWD/$f" "$f"; done
	) > "$dir/put.cmds"
	debugfs -w -f "$dir/put.cmds" "$disk?offset=$HOST_OFFSET" > "$out" 2>&1 || { tail -n 5 "$out" >&2; fail "debugfs"; }
	for f in usr/sbin/khoctl usr/lib/khoctl-lab/vmagent; do
		debugfs -R "dump /$f $dir/put.check" "$disk?offset=$HOST_OFFSET" > /dev/null 2>&1
		cmp -s "$1/$f" "$dir/put.check" || fail "up --host: $f is not on the disk: see $out"
	done
	rm -f "$dir/put.check"
}

# Called by start_qemu, sets what it boots.
host_boot() {
	kernel=$cache/host/boot/vmlinuz-$outgoing initrd=$cache/host/boot/initrd.img-$outgoing
	words="root=UUID=$HOST_UUID ro"
}
