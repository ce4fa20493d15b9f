#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The Debian machine on two kernels built with Kexec HandOver and the Live Update Orchestrator (cache.sh kernel built/kho): redis as a unit and podman's
# container with a network of its own, a client on each, whose memory stays in place. An upgrade by kexec; then one whose next kernel cannot restore: that
# one starts this kernel again, with everything.
set -euo pipefail
LABNAME=${LAB_NAME:-luo-host}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
# shellcheck source=tests/vm/e2e_host.sh
. "$(dirname "$0")/e2e_host.sh"
export CPUS=4 SERVICES='redis web' ENGINE=kexec
trap 'lab down > /dev/null 2>&1 || true; host_clients_kill' EXIT

# The other one of the two: Debian's own kernels are in /boot, too.
# shellcheck disable=SC2016
other_image() { in_vm 'for f in /boot/vmlinuz-*-khoctl-*; do [ "$f" = "/boot/vmlinuz-$(uname -r)" ] || echo "$f"; done'; }

# in_place NAME: check says so of the next upgrade
in_place() {
	vm khoctl check --to "$(other_image)" --engine kexec > "$out/check.$1.txt" 2>&1 || { cat "$out/check.$1.txt"; die "check"; }
	has "check.$1.txt" 'the Live Update Orchestrator \(in place'
}
# came_in_place: what this kernel was started with
came_in_place() {
	vm grep -q khoctl.handed=luo /proc/cmdline || die "the state came another way: $(vm cat /proc/cmdline)"
}
entered() {
	local s
	s=$(vm podman exec web /bin/busybox echo entered | tr -d '\r\n') || true
	[ "$s" = entered ] || die "podman exec web: '$s'"
}

# A CRIU of the next kernel is killed in the middle of its restore.
comes_back() {
	back_by_kexec 1 300
	came_in_place
	runs_well "after the way back"
	host_units > "$out/units.back"
	diff -u "$out/units.before" "$out/units.back" || die "units are not as they were"
	host_clients_alive; host_clients_served
	entered
	ok "back by itself: $(vm khoctl report --json | jq .blackout_us) us of blackout"
}

lab down > /dev/null 2>&1 || true
lab up --host --cpus "$CPUS" --mem 4096 "${LUO_KERNELS[@]}"
runs_well "before anything is done"
vm sh -ec 'sed -i "s/^Network=host/PublishPort=8000:8000/" /etc/containers/systemd/web.container; systemctl daemon-reload'
host_list
# (whether it is well is asked of its clients: 127.0.0.1 leads to it only by netavark's rules)
printf 'container = web\n' > "$out/web.conf"
lab put "$out/web.conf" /etc/khoctl/workloads.d/web.conf
[ "$(in_vm 'ip -o link show type veth | wc -l')" -ge 1 ] || die "the container has no network of its own"
host_clients_start
host_remember
in_place 1
host_upgrade 1 "$(other_image)"
came_in_place
entered
ok "$(vm_release): redis and the container came in place; $(jq .blackout_us "$out/upgrade.1.json") us of blackout"
in_place 2
comes_back
host_clients_stop; ok "clients: no error, no reply missing"
host_end; ok "root file system clean"
echo "$passed passed, 0 failed"
