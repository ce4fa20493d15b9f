#!/usr/bin/env bash
# What khoctl must refuse BEFORE anything is touched, with exit code 2 and a message that names the reason and the fix: workloads
# CRIU cannot carry, a CRIU that cannot, a module that is missing, unsigned or built for another kernel, an image that the running
# kernel rejects, one CPU, too little memory.
set -euo pipefail
LABNAME=${LAB_NAME:-refuse}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
trap 'lab down > /dev/null 2>&1 || true' EXIT
passed=0

# What must be the same afterwards. Modules may have been loaded: khoctl.ko, and what CRIU needs to try itself.
machine() {
	vm sh -c 'cat /sys/devices/system/cpu/online /sys/kernel/kexec_loaded; k=0; [ ! -e /proc/multikernel ] || k=$(tail -n +3 /proc/multikernel | wc -l)
		echo "other kernels: $k"; ip -o addr | sed "s/valid_lft.*//; s/ tentative//"; tc qdisc show dev eth0; nft list ruleset; sort /proc/mounts; ls /sys/block' | tr -d '\r'
}
# refused NAME PATTERN COMMAND...: exit code 2, a verdict "no" (or the refusal itself) with PATTERN, and the machine as it was
refused() {
	local name=$1 pattern=$2 rc=0 line
	shift 2
	machine > "$out/$name.before"
	vm "$@" > "$out/$name.txt" 2>&1 || rc=$?
	[ "$rc" = 2 ] || { tail -30 "$out/$name.txt"; die "$name: exit code $rc, wanted 2"; }
	line=$(grep -E '^(no |khoctl: refused)' "$out/$name.txt" | grep -iE "$pattern" | head -n 1 | tr -d '\r' || true)
	[ -n "$line" ] || { tail -30 "$out/$name.txt"; die "$name: no refusal with /$pattern/"; }
	machine > "$out/$name.after"
	diff -u "$out/$name.before" "$out/$name.after" || die "$name: the machine is not as it was"
	echo "ok    $name: $(cut -c1-170 <<< "$line")"
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

# khoctl.ko: missing, or built for the other kernel; here and in the target. The loaded one is taken out for it.
own=$(vm_release) target=${image#/boot/vmlinuz-}
own_re=${own//+/\\+} target_re=${target//+/\\+}
vm sh -c 'for r in "$1" "$2"; do find "/lib/modules/$r" -name "khoctl.ko*" > "/run/where.$r"; cp "$(cat "/run/where.$r")" "/run/khoctl.ko.$r"; done' sh "$own" "$target"
ours() { # ours RELEASE FILE|none: khoctl.ko of that release
	vm sh -c 'rmmod khoctl 2> /dev/null; k=$(cat "/run/where.$1"); rm -f "$k"; [ "$2" = none ] || cp "$2" "$k"; depmod "$1"' sh "$1" "$2"
}
ours "$own" none
refused no-module "module khoctl is not in .*$own_re" khoctl check --to "$image" --engine beside
refused no-module-upgrade "module khoctl is not in .*$own_re" khoctl upgrade --to "$image" --engine beside
ours "$own" "/run/khoctl.ko.$target"
refused other-module "khoctl in .*$own_re is built for another kernel" khoctl check --to "$image" --engine beside
ours "$own" "/run/khoctl.ko.$own"
ours "$target" none
refused no-target-module "$target_re has no khoctl.ko" khoctl check --to "$image" --engine beside
ours "$target" "/run/khoctl.ko.$own"
refused other-target-module "is built for kernel .*$own_re.*, not for $target_re" khoctl check --to "$image" --engine beside
ours "$target" "/run/khoctl.ko.$target"
vm khoctl check --to "$image" > "$out/good.txt" || { cat "$out/good.txt"; die "check refuses what is right again"; }

# Locked down (for good, until it restarts), with khoctl.ko loaded before: the kernel itself judges the image. It refuses Debian's, too: the
# key that signs it comes from the firmware, and this machine has none. That it was asked, it says itself.
vm sh -c 'echo "file verify_pefile.c +p" > /proc/dynamic_debug/control; mount -t securityfs none /sys/kernel/security; echo integrity > /sys/kernel/security/lockdown
	dmesg -C; cp "$1" /run/vmlinuz-tampered; printf tampered | dd of=/run/vmlinuz-tampered bs=1 seek=9000000 conv=notrunc 2> /dev/null' sh "$image"
refused untrusted-image 'takes only signed kernels and rejects this one' khoctl check --to "$image" --engine beside
vm dmesg > "$out/verified.txt"
grep -q 'PEFILE: cert =' "$out/verified.txt" || die "the kernel has not looked at the signature"
grep -q 'Lockdown: khoctl: kexec of unsigned images is restricted' "$out/verified.txt" || die "the kernel has not refused the image"
refused untrusted-image-upgrade 'takes only signed kernels and rejects this one' khoctl upgrade --to "$image" --engine beside
refused tampered-image 'takes only signed kernels and rejects this one' khoctl check --to /run/vmlinuz-tampered --engine beside
vm rmmod khoctl
refused unsigned-locked-down 'khoctl in .* is unsigned, and this kernel is locked down' khoctl check --to "$image" --engine beside
lab down

# From the newer kernel: Debian 13's own CRIU says "Looks good" there and cannot. Only signed modules; one CPU.
lab up --outgoing linux-image-cloud-amd64/trixie-backports --cpus 1 --mem 2048 --append module.sig_enforce=1
image=$(other_image)
refused unsigned 'khoctl in .* is unsigned, or signed with a key that this kernel does not trust' khoctl check --to "$image" --engine beside
redis_start 0
vm mkdir -p /run/old
lab put "$("$here/cache.sh" package criu | tail -n 1)/usr/sbin/criu" /run/old/criu
lab put "$("$here/cache.sh" package libnet1 | tail -n 1)/usr/lib/x86_64-linux-gnu/libnet.so.1" /usr/lib/x86_64-linux-gnu/libnet.so.1
vm /run/old/criu check > "$out/criu-check.txt" 2>&1 || true
tail -n 1 "$out/criu-check.txt"
refused old-criu 'criu is 4\.1.*cannot dump TCP' sh -c 'PATH=/run/old:$PATH exec khoctl check --to "$1"' sh "$image"
refused one-cpu 'CPU' khoctl check --to "$image" --engine beside
refused one-cpu-upgrade 'CPU' khoctl upgrade --to "$image" --engine beside
lab down
lab up --cpus 2 --mem 1024
refused little-memory 'memory' khoctl upgrade --to "$image" --engine beside
lab down
echo "$passed passed, 0 failed"
