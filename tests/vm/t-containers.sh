#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Containers on the Debian machine, in one upgrade: containerd's (on the host's network, its output in a log file), podman's with
# a network of its own, and podman's with runc as the runtime. Their managers find them running under the same numbers, their clients see no error, no line of the log is
# missing; afterwards they are entered, stopped, leave nothing behind and start as ever. CONTAINERS=all: and back.
set -euo pipefail
LABNAME=${LAB_NAME:-containers}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
# shellcheck source=tests/vm/e2e_host.sh
. "$(dirname "$0")/e2e_host.sh"
export CPUS=4 SERVICES=
[ "${KEEP:-}" ] || trap 'lab down > /dev/null 2>&1 || true; host_clients_kill' EXIT
PROTOCOL=([task]=redis [own]=redis [runc]=redis) PORT=([task]=8000 [own]=8001 [runc]=8002) EVERY_US=([task]=20000 [own]=20000 [runc]=20000)
ALL='task own runc'

# A line in its log twice a second, and a server.
SAY='/bin/busybox nc -ll -p 8000 -e /bin/numbers & n=0; while :; do n=$((n + 1)); echo "line $n"; /bin/busybox sleep 0.5; done'

start_task() {
	vm ctr run -d --net-host --log-uri file:///var/log/task.log localhost/web:latest task /bin/sh -c "$SAY" || die "ctr run"
}

containers_start() {
	vm sh -ec 'systemctl enable --now containerd; ctr image import /usr/lib/khoctl-lab/web.tar > /dev/null' || die "containerd does not start"
	start_task
	vm sh -ec 'cd /etc/containers/systemd
		sed -e "s/^ContainerName=web/ContainerName=own/" -e "s/^Network=host/PublishPort=8001:8000/" web.container > own.container
		sed -e "s/^ContainerName=web/ContainerName=runc/" -e "s/-p 8000/-p 8002/" -e "s/^Pull=/GlobalArgs=--runtime=runc\nPull=/" web.container > runc.container
		systemctl daemon-reload; systemctl start own runc' || die "podman's containers do not start"
	printf 'container = containerd://default/task\nhealth-tcp = 127.0.0.1:8000\n' > "$out/w.conf"
	lab put "$out/w.conf" /etc/khoctl/workloads.d/task.conf
	printf 'container = own\n' > "$out/w.conf"
	lab put "$out/w.conf" /etc/khoctl/workloads.d/own.conf
	printf 'container = runc\n' > "$out/w.conf"
	lab put "$out/w.conf" /etc/khoctl/workloads.d/runc.conf
}

# What the managers, the runtimes and the kernel say of them.
story() {
	# shellcheck disable=SC2016
	vm sh -c 'ctr task ls; ctr container info task | grep -v -i updatedat
		p=$(ctr task ls | awk "\$1 == \"task\" { print \$2 }") b=/run/containerd/io.containerd.runtime.v2.task/default/task
		runc --root /run/containerd/runc/default list -f json | grep -o "\"\(id\|pid\|status\|bundle\)\":[^,}]*"
		cat /proc/$p/cgroup; ps -o ppid= -p $p; q=$(($(ps -o ppid= -p $p)))
		tr "\0" " " < /proc/$q/cmdline; cat /proc/$q/cgroup /proc/$q/oom_score_adj
		cat $b/address $b/runtime $b/options.json $b/init.pid; ls $b; ls -l /proc/$q/fd | grep -c pipe
		awk "{ print \$5, \$6 }" /proc/$p/mountinfo | sort
		for r in $p $(podman inspect -f "{{.State.Pid}}" own runc); do # what it is confined by, and which devices it may use
			cat /proc/$r/attr/current
			sh -c "echo \$\$ > /sys/fs/cgroup$(sed -n s/^0:://p /proc/$r/cgroup)/cgroup.procs; for d in null vda; do dd if=/dev/\$d of=/dev/null bs=512 count=1 status=none && echo reads /dev/\$d; done" 2>&1
		done
		sed -n "s/^\(Uid\|Cap...\|NSpid\|Seccomp\):/\1/p" /proc/$p/status
		podman ps --format "{{.Names}} {{.State}} {{.Ports}}"; systemctl show -p MainPID,NRestarts own runc; ls /run/netns; runc list -f json | grep -o "\"\(id\|pid\|status\|bundle\)\":[^,}]*"' 2>&1 | tr -d '\r'
	# they are in control groups that lose the CPUs that leave
	host_pinned 'podman inspect -f "{{.State.Pid}}" own runc; ctr task ls | sed -n "s/^task  *\([0-9]*\) .*/\1/p"'
}

# go N: the machine to its other kernel
go() {
	go_compared "$1" "$ALL"
	log_goes_on
	ok "upgrade $1: the log has all lines, and grows"
}

# Lines 1, 2, 3 ... without a gap, and more of them as time passes.
log_goes_on() {
	local a b
	a=$(vm sh -c 'wc -l < /var/log/task.log' | tr -d '\r')
	sleep 3
	b=$(vm sh -c 'wc -l < /var/log/task.log' | tr -d '\r')
	[ "$b" -gt "$a" ] || die "the log does not grow ($a, $b lines)"
	vm awk '$1 != "line" || $2 != NR { print "line " NR " is: " $0; exit 1 }' /var/log/task.log || die "the log has not all lines"
}

# For its managers it is an ordinary container.
live_on() {
	local s
	s=$(vm ctr task exec --exec-id e1 task /bin/busybox echo entered | tr -d '\r\n')
	[ "$s" = entered ] || die "ctr task exec: $s"
	[ "$(vm podman exec own /bin/busybox echo entered | tr -d '\r\n')" = entered ] || die "podman exec"
	[ "$(vm podman exec runc /bin/busybox echo entered | tr -d '\r\n')" = entered ] || die "podman exec, runc"
	ok "all are entered"
	vm sh -ec 'ctr task pause task; sleep 1; ctr task ls | grep PAUSED; ctr task resume task; ctr task ls | grep RUNNING' || die "ctr task pause"
	ok "the task is paused and resumed"
	vm ctr task kill -s KILL task || die "ctr task kill"
	for _ in $(seq 50); do ! vm ctr task ls | grep -q RUNNING || { sleep 0.2; continue; }; break; done
	vm sh -c 'ctr task delete task' || [ $? = 137 ] || die "ctr task delete"
	vm ctr container rm task || die "ctr container rm"
	s=$(vm sh -c 'ls /run/containerd/io.containerd.runtime.v2.task/default /run/containerd/runc/default /run/containerd/s 2>&1; pgrep -a containerd-shim
		grep -e /io.containerd.runtime.v2.task/ /proc/self/mountinfo; ls -d /run/khoctl-shim /sys/fs/cgroup/default/task 2> /dev/null; true' | tr -d '\r')
	[ -z "$(grep -v -e '^$' -e ':$' <<< "$s")" ] || die "the task has ended, and this is left of it: $s"
	ok "the task is killed and leaves nothing behind"
	start_task
	vm ctr task ls | grep -q 'task .*RUNNING' || die "the task does not start again"
	ok "the task starts again"
	vm systemctl stop own || die "systemctl stop own"
	s=$(vm sh -c 'ls /run/netns 2> /dev/null; podman ps -q -f name=own; ip -o link show type veth' | tr -d '\r')
	[ -z "$s" ] || die "podman's container is stopped, and this is left of it: $s"
	vm systemctl start own || die "systemctl start own"
	SERVICES=own host_listens own
	ok "podman's stops, its network with it, and starts again"
	vm systemctl restart runc || die "systemctl restart runc"
	SERVICES=runc host_listens runc
	ok "podman's with runc starts again"
}

lab down > /dev/null 2>&1 || true
lab up --host --cpus 4 --mem 4096
runs_well "before anything is done"
containers_start
SERVICES=$ALL host_clients_start
go 1
[ "${CONTAINERS:-}" != all ] || go 2
SERVICES=$ALL host_clients_kill
live_on
echo "$passed passed, 0 failed"
