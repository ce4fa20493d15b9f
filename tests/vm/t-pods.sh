#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# A pod of Kubernetes' kind on the Debian machine, made through containerd's CRI as kubelet makes it: a sandbox and two containers below
# one shim, with namespaces in common and a network by CNI's plugins. Declared by its name it goes to the other kernel: CRI
# finds all of it running under the same numbers, clients see no error, no line of its log is missing; afterwards it is entered, stopped
# and removed, leaves nothing behind, and another one starts. PODS=all: undone first, and back.
set -euo pipefail
LABNAME=${LAB_NAME:-pods}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
# shellcheck source=tests/vm/e2e_host.sh
. "$(dirname "$0")/e2e_host.sh"
# shellcheck source=tests/vm/e2e_cri.sh
. "$(dirname "$0")/e2e_cri.sh"
export CPUS=4 SERVICES=
[ "${KEEP:-}" ] || trap 'lab down > /dev/null 2>&1 || true; host_clients_kill' EXIT
PROTOCOL=([server]=redis [beside]=redis) PORT=([server]=8000 [beside]=8001) EVERY_US=([server]=20000 [beside]=20000)
ALL='server beside'
LOG=/var/log/pods/shop/server.log

containerd_start() {
	vm sh -ec 'mkdir -p /etc/cni/net.d /var/log/pods/shop
		printf "%s" "{\"cniVersion\":\"0.4.0\",\"name\":\"lab\",\"plugins\":[{\"type\":\"bridge\",\"bridge\":\"cni0\",\"isGateway\":true,
			\"ipam\":{\"type\":\"host-local\",\"ranges\":[[{\"subnet\":\"10.88.0.0/24\"}]],\"routes\":[{\"dst\":\"0.0.0.0/0\"}]}}]}" > /etc/cni/net.d/10-lab.conflist
		sed -i "/grpc.v1.cri\"\]/a \    sandbox_image = \"localhost/pause:latest\"" /etc/containerd/config.toml
		systemctl enable --now containerd
		for i in web pause; do ctr -n k8s.io image import /usr/lib/khoctl-lab/$i.tar > /dev/null; done' || die "containerd does not start"
	cri_open
}

# Configurations, as kubelet writes them (processes: each container its own).
OWN_PIDS='security_context { namespace_options { pid: CONTAINER } seccomp { profile_type: RuntimeDefault } }'
sandbox() { printf 'metadata { name: "shop" uid: "u-%s" namespace: "web" } hostname: "shop" log_directory: "/var/log/pods/shop" linux { cgroup_parent: "/kubepods" %s }' "$1" "$OWN_PIDS"; }

# container POD NAME SCRIPT: create and start it; its id
container() {
	local id
	id=$(printf 'pod_sandbox_id: "%s" config { metadata { name: "%s" } image { image: "localhost/web:latest" } command: "/bin/sh" args: "-c" args: "%s" log_path: "%s.log"
		linux { resources { memory_limit_in_bytes: 134217728 } %s } } sandbox_config { %s }' "$1" "$2" "$3" "$2" "$OWN_PIDS" "$(sandbox 1)" |
		cri_id CreateContainer CreateContainerRequest CreateContainerResponse)
	[ "$id" ] || die "no container $2"
	cri StartContainer ContainerRequest Empty <<< "container_id: \"$id\"" > /dev/null
	echo "$id"
}

pod_make() {
	pod=$(printf 'config { %s }' "$(sandbox 1)" | cri_id RunPodSandbox RunPodSandboxRequest RunPodSandboxResponse) || die "no sandbox"
	ip=$(cri PodSandboxStatus PodSandboxRequest PodSandboxStatusResponse <<< "pod_sandbox_id: \"$pod\"" | sed -n 's/^ *ip: "\(.*\)"$/\1/p')
	server=$(container "$pod" server '/bin/busybox nc -ll -p 8000 -e /bin/numbers & n=0; while :; do n=$((n + 1)); echo line $n; /bin/busybox sleep 0.5; done') || die "no server"
	beside=$(container "$pod" beside '/bin/busybox nc -ll -p 8001 -e /bin/numbers') || die "nothing beside it"
	[ "$(vm pgrep -c containerd-shim | tr -d '\r')" = 1 ]
}

pod_remove() {
	cri StopPodSandbox PodSandboxRequest Empty <<< "pod_sandbox_id: \"$pod\"" > /dev/null
	cri RemovePodSandbox PodSandboxRequest Empty <<< "pod_sandbox_id: \"$pod\"" > /dev/null
}

# containerd gives a shim that runs 0.1 s to take a connection, and starts another one in its place when it is slower (pkg/shim's CanConnect):
# on a loaded machine a pod has two then, the first of which nobody can reach any more.
pod_start() {
	local i
	for i in $(seq 8); do
		pod_make && break
		[ "$i" != 8 ] || die "containerd does not find its own shim"
		say "containerd has started a second shim: once more"
		pod_remove
	done
	ADDRESS=([server]=$ip [beside]=$ip)
	say "pod ${pod:0:12} at $ip: ${server:0:12}, ${beside:0:12}"
}

# What CRI, the shim, the runtime and the kernel say of it.
story() {
	cri_open
	# (in no order)
	cri ListPodSandbox Empty ListPodSandboxResponse <<< ''
	cri ListContainers Empty ListContainersResponse <<< '' | tr '\n' ' ' | sed 's/containers {/\n&/g' | sort
	echo
	cri PodSandboxStatus PodSandboxRequest PodSandboxStatusResponse <<< "pod_sandbox_id: \"$pod\""
	# shellcheck disable=SC2016
	vm sh -c 'ctr -n k8s.io task ls | sort; runc --root /run/containerd/runc/k8s.io list -f json | grep -o "\"\(id\|pid\|status\|bundle\)\":[^,}]*"
		for c in "$@"; do
			b=/run/containerd/io.containerd.runtime.v2.task/k8s.io/$c p=$(cat /run/containerd/io.containerd.runtime.v2.task/k8s.io/$c/init.pid)
			echo "# $c"; cat /proc/$p/cgroup; q=$(($(ps -o ppid= -p $p))); echo "shim $q"
			cat $b/address $b/runtime $b/options.json; ls $b; awk "{ print \$5, \$6 }" /proc/$p/mountinfo | sort
			sed -n "s/^\(Uid\|Cap...\|NSpid\|Seccomp\):/\1/p" /proc/$p/status; cat /proc/$p/attr/current /sys/fs/cgroup$(sed -n s/^0:://p /proc/$p/cgroup)/memory.max
			sh -c "echo \$\$ > /sys/fs/cgroup$(sed -n s/^0:://p /proc/$p/cgroup)/cgroup.procs; for d in null vda; do dd if=/dev/\$d of=/dev/null bs=512 count=1 status=none && echo reads /dev/\$d; done" 2>&1
			nsenter -u -t $p hostname; nsenter -n -t $p ip -o addr | sed "s/valid_lft.*//"; nsenter -n -t $p ip route
		done
		tr "\0" " " < /proc/$q/cmdline; cat /proc/$q/cgroup /proc/$q/oom_score_adj; ls -l /proc/$q/fd | grep -c pipe
		for k in ipc uts net mnt pid cgroup; do
			echo "$k: $(for c in "$@"; do readlink /proc/$(cat /run/containerd/io.containerd.runtime.v2.task/k8s.io/$c/init.pid)/ns/$k; done | sort -u | wc -l)"
		done
		pgrep -c containerd-shim; findmnt -rn -o TARGET | grep -e containerd -e netns/ | sort; ls /sys/class/net/cni0/brif' pod "$pod" "$server" "$beside" 2>&1 | tr -d '\r'
}

# go N: the machine to its other kernel
go() {
	go_compared "$1" "$ALL"
	log_goes_on
	ok "upgrade $1: the log has all lines, and grows"
}

# It fails when all of it is restored: the pod goes on where it was.
undone() {
	local rc=0
	say "an upgrade that fails when the pod is restored"
	story > "$out/story.before"
	vm env KHOCTL_FAULT=restore.after:fail khoctl upgrade --to "$(other_image)" || rc=$?
	[ "$rc" = 3 ] || die "exit code $rc"
	story > "$out/story.after"
	diff -u "$out/story.before" "$out/story.after" || die "undone, the pod is not what it was"
	SERVICES=$ALL host_clients_alive
	SERVICES=$ALL host_clients_served
	log_goes_on
	ok "an upgrade that fails behind the restore is undone: the same is said of the pod, its clients and its log go on"
}

# Lines 1, 2, 3 ... without a gap, and more of them as time passes.
log_goes_on() {
	local a b
	a=$(vm wc -l "$LOG" | cut -d' ' -f1)
	sleep 3
	b=$(vm wc -l "$LOG" | cut -d' ' -f1)
	[ "$b" -gt "$a" ] || die "the log does not grow ($a, $b lines)"
	# shellcheck disable=SC2016
	vm awk '$2 != "stdout" || $3 != "F" || $4 != "line" || $5 != NR { print "line " NR " is: " $0; exit 1 }' "$LOG" || die "the log has not all lines"
}

live_on() {
	local s
	s=$(printf 'container_id: "%s" cmd: "/bin/busybox" cmd: "hostname" timeout: 30' "$beside" | cri ExecSync ExecSyncRequest ExecSyncResponse)
	[[ $s = *'stdout: "shop'* ]] || die "ExecSync: $s"
	ok "a container is entered"
	cri StopContainer ContainerRequest Empty <<< "container_id: \"$beside\" timeout: 1" > /dev/null
	cri ListContainers Empty ListContainersResponse <<< '' > "$out/list"
	[ "$(grep -c 'state: 1' "$out/list") $(grep -c 'state: 2' "$out/list")" = '1 1' ] || die "one container is stopped, and this is listed: $(cat "$out/list")"
	cri RemoveContainer ContainerRequest Empty <<< "container_id: \"$beside\"" > /dev/null
	beside=$(container "$pod" beside '/bin/busybox nc -ll -p 8001 -e /bin/numbers')
	SERVICES=beside host_listens beside
	ok "a container is stopped, and another one starts in the same pod"
	pod_remove
	s=$(vm sh -c 'ls /run/containerd/io.containerd.runtime.v2.task/k8s.io /run/containerd/runc/k8s.io /run/netns /run/containerd/s 2>&1; pgrep -a containerd-shim
		grep -e /io.containerd.runtime.v2.task/ -e /sandboxes/ -e netns/cni /proc/self/mountinfo; ls -d /run/khoctl-shim /sys/fs/cgroup/kubepods/* 2> /dev/null | grep -v /cgroup/kubepods/[a-z]*\\.; ip -o link show type veth; true' | tr -d '\r')
	[ -z "$(grep -v -e '^$' -e ':$' <<< "$s")" ] || die "the pod is removed, and this is left of it: $s"
	ok "the pod is removed and leaves nothing behind"
	pod_start
	SERVICES=$ALL host_listens server
	ok "a pod of that name starts again"
}

lab down > /dev/null 2>&1 || true
lab up --host --cpus 4 --mem 4096
runs_well "before anything is done"
containerd_start
pod_start
ip netns exec "khoctl-lab-$LAB_NAME" ip route add 10.88.0.0/24 via "$(lab status --address)"
printf 'container = pod://web/shop\nhealth-tcp = %s:8000\n' "$ip" > "$out/w.conf"
lab put "$out/w.conf" /etc/khoctl/workloads.d/shop.conf
SERVICES=$ALL host_clients_start
[ "${PODS:-}" != all ] || undone
go 1
[ "${PODS:-}" != all ] || go 2
SERVICES=$ALL host_clients_kill
live_on
echo "$passed passed, 0 failed"
