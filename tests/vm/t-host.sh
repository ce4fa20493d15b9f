#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The Debian machine with systemd: failures before the commit leave units, mounts, network, rules and devices as they were; then an
# upgrade that works, and the way back, with the same clients connected. HOST=all (make test-host): also with an NVMe root disk.
set -euo pipefail
LABNAME=${LAB_NAME:-host}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
# shellcheck source=tests/vm/e2e_host.sh
. "$(dirname "$0")/e2e_host.sh"
export CPUS=4
trap 'lab down > /dev/null 2>&1 || true; host_clients_kill' EXIT
passed=0
ok() { echo "ok    $*"; passed=$((passed + 1)); }

# fails NAME COMMAND...: exit code 3, and nothing is left behind
fails() {
	local name=$1 rc=0
	shift
	vm "$@" > "$out/$name.txt" 2>&1 || rc=$?
	[ "$rc" = 3 ] || { tail -30 "$out/$name.txt"; die "$name: exit code $rc, wanted 3"; }
	host_clients_alive; host_clients_served
	host_machine > "$out/$name.after"
	diff -u "$out/before" "$out/$name.after" || die "$name: the machine is not as it was"
	ok "$name: undone ($(tail -n 1 "$out/$name.txt" | tr -d '\r' | cut -c1-110))"
}

# machine WORDS...: one machine with these options of `lab up`, up and back, with what fails in between when $undo
machine() {
	local image
	lab down > /dev/null 2>&1 || true
	lab up --host --cpus 4 --mem 4096 "$@"
	[ "$(running_state)" = running ] || die "the machine does not run well before anything is done"
	host_list
	host_clients_start
	host_remember
	image=$(other_image)
	if [ "$undo" ]; then
		vm khoctl check --to "$image" > /dev/null || die "check"
		host_machine > "$out/before"
		fails fault-restore env KHOCTL_FAULT=restore:fail khoctl upgrade --to "$image"
		fails panic-shift env KHOCTL_FAULT=shift.after:peer-panic khoctl upgrade --to "$image" --cmdline khoctl.fault=1
	fi
	host_upgrade 1 latest; ok "up ($*)"
	host_upgrade 2 "$(other_image)"; ok "back ($*)"
	host_clients_stop; ok "clients: no error, no reply missing"
	host_end; ok "root file system clean"
}

undo=1
machine
if [ "${HOST:-}" = all ]; then
	undo=
	machine --hardware nvme
fi
echo "$passed passed, 0 failed"
