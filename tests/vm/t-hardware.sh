#!/usr/bin/env bash
# An upgrade and the way back on a machine that is less simple than the demo's: redis on an NVMe disk behind a PCIe root port, the network
# card one function of a multi-function device behind another (function 0, an RNG, is not carried and stays behind; function 2 is a second
# disk with a file system of its own). MSI-X everywhere. A client outside holds ONE connection all the time.
set -euo pipefail
LABNAME=${LAB_NAME:-hardware}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
export CPUS=4
trap 'lab down > /dev/null 2>&1 || true; [ -z "$client_pid" ] || kill "$client_pid" 2> /dev/null || true' EXIT

# FUNCTION CLASS on PARENT DRIVER of every function that this kernel shows
# shellcheck disable=SC2016
functions() {
	vm sh -c 'for d in /sys/bus/pci/devices/*; do
		c=$(cat $d/class); p=$(readlink -f $d); p=${p%/*}
		echo "${d##*/} ${c%??} on ${p##*/} $(basename "$(readlink "$d/driver" || echo -)")"; done' | tr -d '\r'
}
# What must be so in every generation: where disk and card are, what drives them, and that their interrupts are MSI-X.
looks_right() {
	local msix
	functions > "$out/functions.$1"
	cat "$out/functions.$1"
	grep -qE '^0000:01:00\.0 0x0108 on 0000:00:03\.0 nvme$' "$out/functions.$1" || die "no NVMe disk behind the port 00:03.0"
	grep -qE '^0000:02:00\.1 0x0200 on 0000:00:04\.0 virtio-pci$' "$out/functions.$1" || die "no network card at function 1 behind the port 00:04.0"
	grep -qE '^0000:02:00\.2 0x0100 on 0000:00:04\.0 virtio-pci$' "$out/functions.$1" || die "no second disk at function 2 behind the port 00:04.0"
	# shellcheck disable=SC2016
	msix=$(vm sh -c 'for f in 01:00.0 02:00.1 02:00.2; do cat /sys/bus/pci/devices/0000:$f/msi_irqs/* | sort -u; done' | tr -d '\r' | sort | uniq -c)
	[ "$msix" = "      3 msix" ] || die "interrupts are not MSI-X: $msix"
	[ "$(vm sh -c 'sha256sum < /extra/file' | cut -c1-64)" = "$digest" ] || die "/extra/file is not what was written"
	vm sh -c "echo $1 >> /extra/generations && sync /extra/generations" || die "/extra cannot be written"
	vm dmesg > "$out/dmesg.$1"
	! grep -E 'BUG:|WARNING:|Oops|Call Trace|No irq handler|controller is down|I/O (error|timeout|tag)' "$out/dmesg.$1" || die "the kernel complains"
}

lab down > /dev/null 2>&1 || true
lab up --cpus 4 --mem 4096 --hardware nvme,ports,functions
first=$(vm_release)
vm sh -c 'head -c 20000000 /dev/urandom > /extra/file'
digest=$(vm sh -c 'sha256sum < /extra/file' | cut -c1-64)
redis_start 64
[ "$(vm sh -c 'sed -n "s|^\([^ ]*\) /data .*|\1|p" /proc/mounts' | tr -d '\r')" = /dev/nvme0n1 ] || die "/data is not on the NVMe disk"
client_start
looks_right 1
[ "$(wc -l < "$out/functions.1")" -ge 8 ] || die "the machine is too simple"
ok "redis on NVMe behind a port, one connection through function 1 behind another"

# everything has been given to the other kernel and used there when this one fails
rc=0
vm env KHOCTL_FAULT=restore:fail khoctl upgrade --to "$(other_image)" > "$out/undone.txt" 2>&1 || rc=$?
[ "$rc" = 3 ] || { tail -30 "$out/undone.txt"; die "an upgrade that fails in restore: exit code $rc, wanted 3"; }
client_alive
looks_right undone
cmp "$out/functions.1" "$out/functions.undone" || die "the devices are not as they were"
ok "an upgrade that failed when the other kernel had all devices: they are back, redis goes on"

upgrade 1
looks_right 2
! grep -q '^0000:02:00\.0' "$out/functions.2" || die "function 0 (an RNG) is shown to the kernel that does not own it"
ok "$first -> $(vm_release): $(jq .blackout_us "$out/upgrade.1.json") us of blackout"
upgrade 2
looks_right 3
[ "$(vm_release)" = "$first" ] || die "$first does not run again"
ok "back to $first: $(jq .blackout_us "$out/upgrade.2.json") us of blackout"
[ "$(vm cat /extra/generations | tr -d '\r' | paste -sd ' ')" = "1 undone 2 3" ] || die "/extra lost what the generations wrote"

sleep 1
client_stop
jq -c '{sent, acked, errors, resets, out_of_order, max_gap_us, why}' "$out/client.json"
client_whole
ok "one connection, $(jq .acked "$out/client.json") replies in order"
aof_complete "$(jq .acked "$out/client.json")"
ok "the AOF on NVMe is complete"
lab down
for f in data extra; do
	disk_is_clean "$top/build/lab/$LAB_NAME/$f.img" "$out/fsck.$f.txt"
done
ok "both disks are clean"
echo "$passed passed, 0 failed"
