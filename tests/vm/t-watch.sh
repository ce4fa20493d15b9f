#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# khoctl upgrade --rollback-on-failure: a workload that is well in the dark and not well on the new kernel brings the machine back to
# the old one, by itself, with the same client connected; one that stays well stays. And khoctl watch, by hand.
set -euo pipefail
LABNAME=${LAB_NAME:-watch}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
export CPUS=4
trap 'lab down > /dev/null 2>&1 || true; [ -z "$client_pid" ] || kill "$client_pid" 2> /dev/null || true' EXIT

redis_lab
from=$(vm_release) image=$(other_image)
to=${image#/boot/vmlinuz-}

# The operator's own check: not well on that kernel once it is the only one.
vm sh -ec 'printf "%s\n" "#!/bin/sh" "[ -e /bad ] && [ -e /run/khoctl/instance.json ] && [ \"\$(uname -r)\" = '"$to"' ] && exit 1" "exit 0" > /well
	chmod 755 /well; touch /bad; sed -i /^health-/d /etc/khoctl/workloads.d/redis.conf
	echo "health-command = /well" >> /etc/khoctl/workloads.d/redis.conf'
vm khoctl watch --for 1s || die "khoctl watch: not well"
ok "khoctl watch: well"

say "$from -> $to, where it will not be well"
vm khoctl upgrade --to "$image" --rollback-on-failure 60s || die "upgrade"
client_alive
for i in $(seq 180); do
	[ "$(vm uname -r 2> /dev/null | tr -d '\r\n')" != "$to" ] && (wait_alone "$from") 2> /dev/null && break
	[ "$i" != 180 ] || { vm dmesg | tail -n 30; die "it does not go back"; }
	sleep 1
done
client_alive
vm khoctl log > "$out/log.txt"
has log.txt 'khoctl: watch: workload redis: health command /well: it failed; going back to the kernel before'
vm khoctl status | tee "$out/status.txt"
has status.txt "^${to//+/.} -> ${from//+/.}: upgraded"
sleep 3
[ "$(vm_release)" = "$from" ] || die "it has gone on to $(vm_release)"
ok "not well on $to: the machine is back on $from; same connection"

say "$from -> $to, where it stays well"
vm rm /bad
vm khoctl upgrade --to "$image" --rollback-on-failure 3s || die "upgrade"
wait_alone "$to"
sleep 8
[ "$(vm_release)" = "$to" ] || die "it has not stayed"
client_alive
ok "well: it stays on $to"
vm touch /bad
rc=0
vm khoctl watch --for 30s > "$out/watch.txt" || rc=$?
[ "$rc" = 4 ] || die "khoctl watch of one that is not well: exit code $rc"
has watch.txt '^not well: khoctl rollback --yes'
ok "khoctl watch: not well"
client_served
echo "$passed passed, 0 failed"
