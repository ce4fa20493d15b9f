# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# What `lab up --host` does in another way than `lab up`: the machine is Debian on a root disk, with systemd. Sourced by lab.
# The disk is a copy of the cache's, with what was built here written into it (debugfs: nothing is mounted, no loop device). Where the root
# is none that debugfs can write (`--root`), it is put in when the machine is up.

root_serial=khoctl-lab-root

# host_can_boot RELEASE: this kernel, which is not installed on that machine, finds the root disk without modules and without an initrd
host_can_boot() {
	local option config=$cache/kernels/$1/boot/config-$1
	[ -z "$root" ] && [ -f "$config" ] || fail "up --host: $1 is not installed on that machine${root:+, whose root needs an initrd}"
	for option in VIRTIO_PCI "$(if has_hardware nvme; then echo BLK_DEV_NVME; else echo VIRTIO_BLK; fi)" EFI_PARTITION EXT4_FS DEVTMPFS_MOUNT AUTOFS_FS; do
		grep -qx "CONFIG_$option=y" "$config" || fail "up --host: $1 is not installed on that machine, and boots no disk of it without an initrd (CONFIG_$option)"
	done
}

# host_kernel RELEASE: into $dir/put, as its package would have put it there (khoctl.ko and the lists of modules are there already)
host_kernel() {
	local f from=$cache/kernels/$1 to=$dir/put/usr/lib/modules/$1
	mkdir -p "$dir/put/boot" "$to"
	cp "$from/boot/vmlinuz-$1" "$from/boot/config-$1" "$dir/put/boot/"
	for f in kernel modules.order modules.builtin modules.builtin.modinfo; do
		[ ! -e "$from/usr/lib/modules/$1/$f" ] || cp -r "$from/usr/lib/modules/$1/$f" "$to/"
	done
}

# host_prepare RELEASE...: what was built here is in $dir/put; each release can be booted from the disk
host_prepare() {
	local rel own=()
	need debugfs cpio socat
	from=$cache/host${root:+/$root}
	if [ "$root" ]; then "$vmdir/root_image.sh" "$root"; else "$vmdir/cache.sh" host; fi
	# shellcheck disable=SC1091
	. "$from/env"
	disk_serial=$root_serial
	for rel in "$@"; do
		[ ! -f "$from/boot/initrd.img-$rel" ] || continue
		host_can_boot "$rel"
		own+=("$rel")
	done
	"$vmdir/image.sh" --tree "$dir/put" "$@"
	for rel in "${own[@]}"; do host_kernel "$rel"; done
	# no snapshot is kept of what nobody else boots
	[ ${#own[@]} = 0 ] || { need sfdisk; fresh=1; }
	# an emulated machine that shares two CPUs with another one may take longer than the 90 s of a real one
	install -D -m 644 /dev/stdin "$dir/put/etc/systemd/system.conf.d/lab.conf" <<< $'[Manager]\nDefaultDeviceTimeoutSec=10min\nDefaultTimeoutStartSec=10min'
	rm -f "$dir"/{data,extra}.img "$dir/initrd"
	! has_hardware functions || fresh=1
	if [ "$disk" ]; then fresh=1; return; fi
	disk=$dir/root.img
	[ ! "$fresh" ] || host_disk "$dir/put"
}

# host_disk TREE: a copy of the cache's disk with TREE written into it
host_disk() {
	cp --sparse=always "$from/root.img" "$disk"
	[ "$root" ] || host_write "$1"
}

# The machine goes on from its snapshot, which is made if there is none yet. Fails where it has to be booted.
host_resume() {
	local key snap
	[ ! "$fresh" ] || return 1
	key=$({ stat -c %Y "$from/root.img"; cat "$cache/stamp/host-image" "$vmdir"/{vmagent.c,frame.c,frame.h}; "$QEMU" --version
		echo "$outgoing $cpus $mem $cpu $hardware $append ${extra[*]} ${LAB_ACCEL:-}"; } | sha256sum | cut -c1-16)
	snap=$from/snap/$key
	mkdir -p "$from/snap"
	exec 6> "$snap.lock" # one lab makes it, the others wait
	flock 6
	if [ ! -f "$snap/state" ] && ! host_snapshot "$snap"; then
		exec 6>&-
		note "lab: no snapshot: $why"
		host_disk "$dir/put"
		return 1
	fi
	exec 6>&-
	host_load "$snap" && host_install && return 0
	note "lab: the snapshot cannot be used ($why), booting"
	stop_vm
	rm -rf "$snap"
	load=()
	host_disk "$dir/put"
	return 1
}

# host_snapshot DIR: boots the machine with nothing of khoctl in it and saves memory and disk
host_snapshot() {
	local t=$dir/put.agent new=$1.new out
	rm -rf "$t"
	install -D -m 755 "$dir/put/usr/lib/khoctl-lab/vmagent" "$t/usr/lib/khoctl-lab/vmagent"
	host_disk "$t"
	start_qemu
	wait_ready || { cp "$dir/outgoing.log" "$dir/outgoing.failed.snapshot.log"; stop_vm; return 1; }
	grep -aq 'LAB-READY .* running' "$dir/outgoing.log" || { why="the machine is not well: see $dir/outgoing.log"; stop_vm; return 1; }
	LAB_WAIT=60 labc exec sync || true
	rm -rf "$new" "$1"
	mkdir -p "$new"
	# (not stopped before: it would be stopped after it was loaded, too)
	out=$(printf '%s\n' 'migrate_set_parameter max-bandwidth 8G' "migrate file:$new/state" 'info migrate' quit |
		socat -t 300 - "UNIX-CONNECT:$run/monitor" 2>&1) || true
	stop_vm
	grep -q 'completed' <<< "$out" || { why="it could not be saved"; rm -rf "$new"; return 1; }
	cp --sparse=always "$disk" "$new/root.img"
	cp "$dir/outgoing.log" "$new/"
	mv "$new" "$1"
	# the newest three
	find "$from/snap" -mindepth 1 -maxdepth 1 -type d ! -name '*.new' -printf '%T@ %p\n' | sort -rn | sed -e 1,3d -e 's/^[^ ]* //' |
		xargs -r rm -rf
}

host_load() {
	cp --sparse=always "$1/root.img" "$disk"
	load=(-incoming "file:$1/state")
	start_qemu
	cp "$1/outgoing.log" "$dir/outgoing.boot.log"
	LAB_WAIT=60 labc exec true && return 0
	why="the agent does not answer"
	return 1
}

# What was built here into the running machine, and the time that has passed since the snapshot.
host_install() {
	pack_tree "$dir/put" | gzip -1 > "$dir/put.cpio.gz"
	why="khoctl could not be put in"
	cmd_put "$dir/put.cpio.gz" /run/put.cpio.gz || return 1
	# shellcheck disable=SC2016
	labc exec sh -ec 'date -s "@$1" > /dev/null; cd /; zcat /run/put.cpio.gz | cpio -idmu --quiet; rm /run/put.cpio.gz
		touch /etc/.updated /var/.updated; systemctl daemon-reload; sync' sh "$(date +%s)"
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
		[ -f "$1/$f" ] || continue
		debugfs -R "dump /$f $dir/put.check" "$disk?offset=$HOST_OFFSET" > /dev/null 2>&1
		cmp -s "$1/$f" "$dir/put.check" || fail "up --host: $f is not on the disk: see $out"
	done
	rm -f "$dir/put.check"
}

# Called by start_qemu, sets what it boots; and what its first console reads, when there is something to be typed.
host_boot() {
	kernel=$from/boot/vmlinuz-$outgoing initrd=$from/boot/initrd.img-$outgoing
	words=${HOST_ROOT:-root=UUID=$HOST_UUID ro}
	# the kernel alone knows partitions, not file systems, by their UUID
	if [ ! -f "$initrd" ]; then
		kernel=$cache/kernels/$outgoing/boot/vmlinuz-$outgoing initrd=
		words="root=PARTUUID=$(sfdisk --part-uuid "$disk" 2) rootwait ro"
	fi
	asked=
	[ "${HOST_PASS:-}" ] || return 0
	rm -f "$run/com1.in"
	mkfifo "$run/com1.in"
	exec 5<> "$run/com1.in" # QEMU has it too: there is always one who may write
	typed=",input-path=$run/com1.in"
}

# The passphrase of its root, when the initramfs asks for it.
host_answer() {
	[ "${HOST_PASS:-}" ] && [ -z "$asked" ] && grep -aqs 'Please unlock disk' "$dir/outgoing.log" || return 0
	asked=1
	printf '%s\n' "$HOST_PASS" > "$run/com1.in"
}
