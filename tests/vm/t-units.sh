#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Units of systemd on the Debian machine, in one upgrade: a dynamic user with credentials and limits, private and own /tmp in use, a profile of AppArmor, an
# instance of a template in a sub-group, socket activation with a descriptor store, a unit without main process, timers, CPUAffinity=. Before
# and after systemd tells the same of them; their clients see no error; afterwards they stop and start as ever.
set -euo pipefail
LABNAME=${LAB_NAME:-units}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
# shellcheck source=tests/vm/e2e_host.sh
. "$(dirname "$0")/e2e_host.sh"
export CPUS=4 SERVICES=
[ "${KEEP:-}" ] || trap 'lab down > /dev/null 2>&1 || true; host_clients_kill' EXIT
PROTOCOL=([dyn]=redis [tmp]=redis [own]=redis [act]=http [tpl]=redis)
PORT=([dyn]=7001 [tmp]=7002 [own]=7003 [act]=7004 [tpl]=7005)
EVERY_US=([dyn]=20000 [tmp]=20000 [own]=20000 [act]=20000 [tpl]=20000)

install_units() {
	local f
	for f in "$here"/units/*; do lab put "$f" "/etc/systemd/system/${f##*/}"; done
	lab put "$top/build/tests/vm/unitd" /usr/lib/khoctl-lab/unitd
	vm sh -ec 'chmod 755 /usr/lib/khoctl-lab/unitd; mv /etc/systemd/system/story /usr/lib/khoctl-lab/
		printf "profile khotest flags=(attach_disconnected) {\n file, network, capability, signal, unix, mqueue,\n deny /etc/shadow r,\n}\n" > /etc/apparmor.d/khotest
		apparmor_parser -r /etc/apparmor.d/khotest
		mkdir -p /etc/khotest; echo secret > /etc/khotest/token; chmod 600 /etc/khotest/token; systemctl daemon-reload
		systemctl start khotest-dyn khotest-tmp khotest-own khotest-act.socket khotest-tpl@7005 khotest-once \
			khotest-boot.timer khotest-every.timer khotest-daily.timer'
	# the first client starts the service
	[ "$(unitd /n/7)" = 7 ] || die "khotest-act is not started by its socket"
	for f in dyn tmp own act tpl@7005 once; do
		printf 'unit = khotest-%s.service\n' "$f" > "$out/w.conf"
		lab put "$out/w.conf" "/etc/khoctl/workloads.d/${f/@/-}.conf"
	done
}
# unitd PATH: what khotest-act answers, by its UNIX socket
unitd() {
	# shellcheck disable=SC2016
	vm timeout 20 perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(Peer => "/run/khotest-act.sock") or die;
		syswrite $s, "GET $ARGV[0] HTTP/1.1\r\n\r\n"; $_ = ""; sysread $s, $_, 1000, length while !/\r\n\r\n.+\n/; print /\r\n\r\n(.+)\n/' "$1" | tr -d '\r\n'
}

story() {
	vm sh /usr/lib/khoctl-lab/story | tr -d '\r'
	host_pinned 'systemctl show -P MainPID khotest-tmp khotest-own'
}

# go N: the machine to its other kernel
go() {
	local n=$1
	go_compared "$n" 'dyn tmp own act tpl'
	[ "$(unitd /kept)" = "what is in kept" ] || die "khotest-act has lost its memfd"
	[ "$(unitd /n/8)" = 8 ] || die "khotest-act does not answer at its UNIX socket"
	ok "upgrade $n: both sockets of the socket unit answer"
}

# What the units are, they are for the new systemd, too: it stops them and takes away what was theirs, and starts them by their sockets.
live_on() {
	local pid
	vm systemctl stop khotest-dyn khotest-tmp khotest-own
	vm sh -c '! ls -d /run/credentials/khotest-dyn.service /tmp/systemd-private-*-khotest-tmp.service-* 2> /dev/null
		! ls /run/systemd/dynamic-uid/* 2> /dev/null' || die "something of the stopped units is left"
	ok "stopped units leave nothing behind"
	vm systemctl restart khotest-act
	[ "$(unitd /closed)" = "what is in closed" ] || die "the descriptor store has not given back what it had"
	ok "a restarted unit gets its sockets and what was in its descriptor store"
	pid=$(vm systemctl show -P MainPID khotest-act)
	vm systemctl kill --signal=KILL khotest-act
	for _ in $(seq 50); do [ "$(vm systemctl show -P SubState khotest-act.socket | tr -d '\r')" != listening ] || break; sleep 0.2; done
	[ "$(unitd /n/9)" = 9 ] || die "the socket unit does not start its service when that has ended"
	[ "$(vm systemctl show -P MainPID khotest-act)" != "$pid" ] || die "khotest-act was not started by its socket"
	ok "the socket unit starts its service again"
	vm systemctl start khotest-dyn khotest-tmp khotest-own || die "units do not start"
	ok "stopped units start"
}

lab down > /dev/null 2>&1 || true
lab up --host --cpus 4 --mem 4096
runs_well "before anything is done"
install_units
SERVICES='dyn tmp own act tpl' host_clients_start
go 1
[ "${UNITS:-}" != all ] || go 2
SERVICES='dyn tmp own act tpl' host_clients_kill
live_on
echo "$passed passed, 0 failed"
