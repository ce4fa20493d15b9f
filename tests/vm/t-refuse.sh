#!/usr/bin/env bash
# What khoctl must refuse BEFORE anything is touched, with exit code 2 and a message that names the reason and the fix:
# workloads CRIU cannot carry, one CPU, too little memory, a missing module, a second upgrade at the same time.
set -euo pipefail
LABNAME=refuse
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
trap 'lab down > /dev/null 2>&1 || true' EXIT
passed=0

# refused NAME PATTERN COMMAND...: exit code 2 and PATTERN in the output
refused() {
	local name=$1 pattern=$2 rc=0
	shift 2
	vm "$@" > "$out/$name.txt" 2>&1 || rc=$?
	[ "$rc" = 2 ] || { tail -30 "$out/$name.txt"; die "$name: exit code $rc, wanted 2"; }
	grep -qiE "$pattern" "$out/$name.txt" || { tail -30 "$out/$name.txt"; die "$name: says nothing of /$pattern/"; }
	echo "ok    $name: $(grep -iE "$pattern" "$out/$name.txt" | head -n 1 | tr -d '\r' | cut -c1-140)"
	passed=$((passed + 1))
}
# holder KIND PATH: such a process as the workload "holder"
holder() {
	vm sh -c "pkill holder; printf 'pidfile = /run/holder.pid\n' > /etc/khoctl/workloads.d/holder.conf
		chmod 600 /etc/khoctl/workloads.d/holder.conf; setsid /run/holder $1 $2 /run/holder.pid </dev/null >/dev/null 2>&1; sleep 0.5"
}

lab down > /dev/null 2>&1 || true
lab up --cpus 2 --mem 3072
image=$(other_image)
lab put "$top/build/tests/vm/holder" /run/holder
vm sh -c 'chmod 755 /run/holder; mkdir -p /etc/khoctl/workloads.d'
holder uring none
refused io-uring 'io_uring' khoctl check --to "$image"
refused io-uring-upgrade 'io_uring' khoctl upgrade --to "$image"
holder device /dev/mem
refused device-file '/dev/mem' khoctl check --to "$image"
vm sh -c 'pkill holder; rm /etc/khoctl/workloads.d/holder.conf'
vm sh -c 'printf "pidfile = /run/nothing.pid\n" > /etc/khoctl/workloads.d/gone.conf'
refused not-running 'gone' khoctl upgrade --to "$image"
vm sh -c 'printf "pidfil = /run/x.pid\n" > /etc/khoctl/workloads.d/gone.conf'
refused bad-config 'gone.conf:1' khoctl upgrade --to "$image"
vm rm /etc/khoctl/workloads.d/gone.conf
vm sh -c 'k=$(find /lib/modules/$(uname -r) -name "khoctl.ko*"); echo "$k" > /run/k; rmmod khoctl 2>/dev/null; mv "$k" /run/khoctl.ko; depmod'
refused no-module 'module' khoctl upgrade --to "$image"
vm sh -c 'mv /run/khoctl.ko "$(cat /run/k)"; depmod'
lab down

lab up --cpus 1 --mem 2048
refused one-cpu 'CPU' khoctl check --to "$image"
refused one-cpu-upgrade 'CPU' khoctl upgrade --to "$image"
lab down
lab up --cpus 2 --mem 1024
refused little-memory 'memory' khoctl upgrade --to "$image"
lab down
echo "$passed passed, 0 failed"
