#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The Debian machine with systemd: a failure before the commit leaves units, mounts, network, rules and devices as they were; then an
# upgrade that works, and the way back, with the same clients connected; units do what their files say, and restarted they are as
# before khoctl. HOST=all (make test-host): also a kernel that panics, six upgrades after which nothing has piled up, and a machine with
# an NVMe root disk and a data disk in its fstab (HOST=nvme: this one alone), and one that goes up and back by kexec, and whose next
# kernel panics (HOST=kexec).
set -euo pipefail
LABNAME=${LAB_NAME:-host}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
# shellcheck source=tests/vm/e2e_host.sh
. "$(dirname "$0")/e2e_host.sh"
export CPUS=4
trap 'lab down > /dev/null 2>&1 || true; host_clients_kill' EXIT

# begin WORDS...: one machine with these options of `lab up`, its services listed, a client on each
begin() {
	lab down > /dev/null 2>&1 || true
	lab up --host --cpus "$CPUS" --mem 4096 "$@"
	runs_well "before anything is done"
	host_list
	host_clients_start
	host_remember
}

# up_and_back FIRST [MORE]: two upgrades and MORE, numbered from FIRST; nothing may have piled up since the second
up_and_back() {
	local n=$1 last=$(($1 + 1 + ${2:-0}))
	for n in $(seq "$1" "$last"); do
		host_upgrade "$n" "$(other_image)"
		ok "upgrade $n: $(vm_release)"
		host_residue > "$out/residue.$n"
		[ "$n" -lt 4 ] || { diff -u "$out/residue.$((n - 2))" "$out/residue.$n" || die "something has piled up in two upgrades"; ok "nothing has piled up"; }
	done
}

end() {
	host_services_work; ok "units do what their files say"
	host_clients_stop; ok "clients: no error, no reply missing"
	host_restart; ok "restarted units are as before khoctl"
	host_end; ok "root file system clean"
}

# One after another, on one machine: what fails, and what works.
plain() {
	local more=0
	begin
	vm khoctl check --to "$(other_image)" > /dev/null || die "check"
	host_machine > "$out/before"
	host_fails fault-restore "injected failure" env KHOCTL_FAULT=restore:fail khoctl upgrade --to "$(other_image)"
	if [ "${HOST:-}" = all ]; then
		host_fails criu-restore "criu" env KHOCTL_FAULT=restore.before:peer-criu khoctl upgrade --to "$(other_image)" --cmdline khoctl.fault=1
		host_fails panic-shift "has panicked" env KHOCTL_FAULT=shift.after:peer-panic khoctl upgrade --to "$(other_image)" --cmdline khoctl.fault=1
		more=4
	fi
	up_and_back 1 $more
	end
}

nvme() {
	SERVICES="$SERVICES proxy"
	begin --hardware nvme,functions
	host_data_disk
	up_and_back 1
	host_data_disk_is_there
	end
}

# The next kernel takes this one's place; what fails before the jump is undone.
by_kexec() {
	begin
	vm khoctl check --to "$(other_image)" --engine kexec > /dev/null || die "check"
	host_machine > "$out/before"
	host_fails kexec-restore "injected failure" env KHOCTL_FAULT=restore:fail khoctl upgrade --to "$(other_image)" --engine kexec
	ENGINE=kexec up_and_back 1
	end
	next_panics
}

# The next kernel panics while it restores: nobody is left who has the state. The machine starts anew, as it does from its disk, and
# khoctl status knows of it (what that has cost is said by khoctl-resume.service, which is not enabled here: t-platform).
next_panics() {
	local first boot SERVICES="redis nginx postgres" # the container is not started at boot
	begin
	first=$(vm_release) boot=$(boot_id)
	lab may-reset
	vm env KHOCTL_FAULT=proc.retrieve:peer-panic khoctl upgrade --to "$(other_image)" --engine kexec --cmdline khoctl.fault=1 > "$out/panics.txt" 2>&1 || true
	wait_reset "$boot"
	[ "$(vm_release)" = "$first" ] || die "$(vm_release) runs"
	root_clean
	vm khoctl status --json > "$out/panics.json" || die "khoctl status"
	[ "$(jq -r .state "$out/panics.json")" = rebooted ] || { cat "$out/panics.json"; die "khoctl status does not know of the reset"; }
	host_units > "$out/units.panics"
	! grep -v ' active 0 ' "$out/units.panics" || die "a service does not run after the reset"
	vm khoctl check --to "$(other_image)" > /dev/null || die "no further upgrade is possible"
	ok "the next kernel has panicked: started anew, disk whole, services run; khoctl status: $(jq -r .state "$out/panics.json")"
	host_clients_kill
}

case ${HOST:-} in
all) plain; nvme; by_kexec ;;
nvme) nvme ;;
kexec) by_kexec ;;
*) plain ;;
esac
echo "$passed passed, 0 failed"
