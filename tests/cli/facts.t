#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# check, list and dry-run from a recorded tree: no root, no module; text and JSON tell the same; bad targets are named.
# shellcheck source=tests/cli/tap.sh
. "$(dirname "$0")/tap.sh"
root=$tmp/root
cp -R "$top/tests/sysroots/host-2cpu" "$root"
mkdir -p "$root/boot" "$root/etc/khoctl/workloads.d" "$root/run"
make_image "$root/boot/vmlinuz-7.3.4" 7.3.4
make_image "$root/boot/vmlinuz-7.10.1" 7.10.1
make_image "$root/boot/vmlinuz-6.1.9" 6.1.9

exits 0 "list" "$khoctl" list --sysroot "$root"
same "$top/tests/cli/expected/list.txt" "list as recorded"
exits 0 "list --json" "$khoctl" list --sysroot "$root" --json
same_json "$top/tests/cli/expected/list.json" "list --json as recorded"

exits 0 "image show" "$khoctl" image show "$root/boot/vmlinuz-7.3.4"
same "$top/tests/cli/expected/image.txt" "image show as recorded"

# a blob is known by its serializer's name and printed by its message: two members of Clock, one that no Clock has
printf '\010\052\030\007' > "$tmp/clock.state"
exits 0 "image show of a blob" "$khoctl" image show "$tmp/clock.state"
says '^message +kho.Clock$' "the blob's message"
says '^shared_us +42$' "the blob's member"
exits 0 "image show --json of a blob" "$khoctl" image show --json "$tmp/clock.state"
says '"freq":7' "its member in JSON"
printf '\010\052\372\001\002hi' > "$tmp/clock-out.state"
exits 0 "a blob of a newer khoctl" "$khoctl" image show "$tmp/clock-out.state"
says '^unknown_fields +1$' "what it knows more is said"
printf '\372\001\002hi' > "$tmp/clock.state"
exits 2 "another message" "$khoctl" image show "$tmp/clock.state"
printf '\010' > "$tmp/clock.state"
exits 2 "a blob that is cut off" "$khoctl" image show "$tmp/clock.state"
says 'no message of the serializer clock' "cut off: said"
"$khoctl" version --json > "$tmp/version"
for s in $(sed -n '/"serializers"/,/]/s/^ *"\([a-z]*\)",*$/\1/p' "$tmp/version"); do
	: > "$tmp/$s.state"
	exits 0 "every serializer's blobs can be shown: $s" "$khoctl" image show "$tmp/$s.state"
done
exits 0 "there are serializers" test -e "$tmp/proc.state"
head -c 600 /dev/urandom > "$tmp/noise"
exits 2 "garbage" "$khoctl" image show "$tmp/noise"
says 'neither a kernel image nor a journal nor a CRIU image' "garbage: said"
exits 2 "garbage in JSON" "$khoctl" image show --json "$tmp/noise"
says '"exit":2' "garbage: said in JSON"
mkdir "$tmp/criu" "$tmp/criu/final"
exits 2 "a directory without images" "$khoctl" image show "$tmp/criu"
printf '\031\103\126\124\377\377\377\377\003\000\000\000abc' > "$tmp/criu/final/x.img"
exits 0 "a directory of images" "$khoctl" image show "$tmp/criu"
says '^final/x.img +15 B' "its images"
exits 0 "a CRIU image" "$khoctl" image show "$tmp/criu/final/x.img"
says '^records +1$' "its records"
says '^torn +false$' "it is whole"

# this tree has no modules for the target: refused, whatever else
exits 2 "check refuses" "$khoctl" check --sysroot "$root" --to latest
says '7\.10\.1' "latest is the newest by version"
says '^no .*linux-image-7\.10\.1' "no modules: the fix is named"
exits 2 "check --json refuses" "$khoctl" check --sysroot "$root" --to latest --json
says '"can":false' "check --json says so"
exits 2 "dry run" "$khoctl" upgrade --sysroot "$root" --to latest --dry-run
says '^freeze +60 s +yes' "dry run prints the steps"
says '^engine +beside' "dry run prints the engine"

# --to: a release in /boot, the newest one, the one before
exits 2 "a release" "$khoctl" check --sysroot "$root" --to 7.3.4
says '^no .*linux-image-7\.3\.4' "a release is found in /boot"
exits 2 "no such release" "$khoctl" check --sysroot "$root" --to 7.3.5
says '/boot/vmlinuz-7\.3\.5' "no such release: said"
exits 2 "previous without a journal" "$khoctl" check --sysroot "$root" --to previous
says 'no upgrade is recorded' "previous without a journal: said"
running=$(cat "$root/proc/sys/kernel/osrelease")
journal() { # one begin record: FROM TO [PREVIOUS]
	local t="{\"rec\":\"begin\",\"from\":\"$1\",\"to\":\"$2\",\"old_image\":\"/boot/vmlinuz-$1\"${3:+,\"previous_image\":\"/boot/vmlinuz-$3\"}}"
	mkdir -p "$root/var/lib/khoctl"
	{ printf KHOJRNL1; rec "$t"; } > "$root/var/lib/khoctl/journal"
}
journal 6.1.9 "$running"
exits 2 "previous" "$khoctl" check --sysroot "$root" --to previous
says '^no .*linux-image-6\.1\.9' "previous is where the last upgrade came from"
journal "$running" 7.3.4
exits 2 "previous of a kernel that no upgrade led to" "$khoctl" check --sysroot "$root" --to previous
says 'did not lead to the running' "previous of a kernel that no upgrade led to: said"
journal "$running" 7.3.4 6.1.9
exits 2 "previous after an upgrade that was undone" "$khoctl" check --sysroot "$root" --to previous
says '^no .*linux-image-6\.1\.9' "previous after an upgrade that was undone: still where the running one came from"
rm -r "$root/var/lib/khoctl"
mkdir "$root/boot/kept"
mv "$root/boot/vmlinuz-7."* "$root/boot/kept/"
exits 2 "the newest runs" "$khoctl" check --sysroot "$root" --to latest
says "the running .* is the newest kernel in .*--to 6.1.9 takes the next older one" "the newest runs: said"
mv "$root/boot/kept/"* "$root/boot/"
rmdir "$root/boot/kept"

# what was kept of kernels that have ended
exits 2 "no log" "$khoctl" log --sysroot "$root"
says 'no log of a retired kernel is kept' "no log: said"
mkdir -p "$root/var/lib/khoctl"
echo "one said" > "$root/var/lib/khoctl/dmesg-1-6.1.9.txt"
echo "two said" > "$root/var/lib/khoctl/dmesg-2-7.3.4+x-cloud.txt"
touch -d '1 hour ago' "$root/var/lib/khoctl/dmesg-1-6.1.9.txt"
exits 0 "the last log" "$khoctl" log --sysroot "$root"
says '^two said$' "the last log: its text"
exits 0 "a log by generation" "$khoctl" log 1 --sysroot "$root"
says '^one said$' "a log by generation: its text"
exits 0 "a log in JSON" "$khoctl" log --sysroot "$root" --json
says '"release":"7.3.4\+x-cloud"' "a log in JSON: release"
exits 2 "a log that is not kept" "$khoctl" log 7 --sysroot "$root"
exits 1 "no number" "$khoctl" log x --sysroot "$root"
rm -r "$root/var/lib/khoctl"

# the same verdicts in text and JSON
"$khoctl" check --sysroot "$root" --to latest 2>&1 | grep -cE '^(ok|loss|unknown|no) ' > "$tmp/text"
"$khoctl" check --sysroot "$root" --to latest --json | grep -c '"verdict":' > "$tmp/json"
exits 1 "there are verdicts" grep -qx 0 "$tmp/json"
exits 0 "text and JSON have the same verdicts" cmp "$tmp/text" "$tmp/json"

exits 2 "not a kernel" "$khoctl" check --sysroot "$root" --to /etc/passwd
says 'not an x86 kernel image' "not a kernel: said"
head -c 3000 "$root/boot/vmlinuz-7.3.4" > "$tmp/short"
exits 2 "truncated" "$khoctl" check --sysroot "$root" --to "$tmp/short"
says 'truncated' "truncated: said"
exits 2 "missing" "$khoctl" check --sysroot "$root" --to /boot/none
exits 1 "unknown engine" "$khoctl" check --sysroot "$root" --to latest --engine warp
says "engine 'warp' is unknown; give auto or" "unknown engine: said"

printf 'pidfil = /run/x.pid\n' > "$root/etc/khoctl/workloads.d/web.conf"
exits 2 "bad workload file" "$khoctl" check --sysroot "$root" --to latest
says "web.conf:1: unknown key 'pidfil'" "bad workload file: file and line"
printf 'pidfile = /run/web.pid\n' > "$root/etc/khoctl/workloads.d/web.conf"
exits 2 "workload that does not run" "$khoctl" check --sysroot "$root" --to latest
says "^no +workload.*web .*does not run" "workload that does not run: named"
rm "$root/etc/khoctl/workloads.d/web.conf"
# whose initramfs, what was predicted, what is started anew
exits 2 "check" "$khoctl" check --sysroot "$root" --to 7.3.4 --all
says '^predicted blackout: - \(not known: ' "check: nothing to predict from"
exits 2 "a limit of what is not known" "$khoctl" check --sysroot "$root" --to 7.3.4 --max-blackout 50ms
says '^no +blackout +max-blackout +50\.0 ms is allowed, and the blackout is not known: .*; fix: --allow-unknown' "a limit of what is not known: refused, and what to do"
exits 2 "unknown allowed" "$khoctl" check --sysroot "$root" --to 7.3.4 --max-blackout 50ms --allow-unknown
says '^unknown +blackout +max-blackout +not known; 50\.0 ms is allowed' "unknown allowed: no refusal"
exits 1 "a limit that is no time" "$khoctl" check --sysroot "$root" --to 7.3.4 --max-blackout 50
says 'max-blackout 50: want a time like 50ms' "a limit that is no time: said"
exits 1 "no time at all" "$khoctl" upgrade --dry-run --sysroot "$root" --to 7.3.4 --max-blackout 0ms
exits 1 "state over a disk, by a relative path" "$khoctl" check --sysroot "$root" --to 7.3.4 --engine kexec --state-dir data
says 'state-dir data: want an absolute path' "state over a disk, by a relative path: said"
exits 2 "state over a disk" "$khoctl" check --sysroot "$root" --to 7.3.4 --engine kexec --state-dir /data
says '^unknown +kexec +--state-dir +a recorded tree tells nothing' "state over a disk: of a recorded tree it is not known"
exits 2 "state over a disk to a kernel beside" "$khoctl" check --sysroot "$root" --to 7.3.4 --engine beside --state-dir /data
says '^no +engine +--state-dir +it is for a kernel that takes this one' "state over a disk to a kernel beside: refused"
exits 2 "check by kexec" "$khoctl" check --sysroot "$root" --to 7.3.4 --engine kexec
says '^predicted blackout: - \(not known until one like it was seen here' "check by kexec: nothing to predict from"
mkdir -p "$root/var/lib/khoctl"
part() { echo "{\"name\":\"$1\",\"at_us\":$2,\"us\":$3}"; }
echo "{\"from\":\"6.1.9\",\"to\":\"6.12.1\",\"engine\":\"kexec\",\"jumps\":true,\"outcome\":\"upgraded\",\"blackout_us\":9000000,\"facts\":{},\"phases\":[$(
	part "step freeze" 0 200000),$(part "shutdown and jump" 500000 500000),$(part boot 1000000 4000000),$(part "verify proc" 8000000 500000)]}" > "$root/var/lib/khoctl/history.jsonl"
exits 2 "check after one by kexec" "$khoctl" check --sysroot "$root" --to 7.3.4 --engine kexec
says '^predicted blackout: [0-9.]+ s \(from the last upgrade of this kind\)' "check after one by kexec: predicted from it"
exits 2 "a limit that it cannot keep" "$khoctl" upgrade --dry-run --sysroot "$root" --to 7.3.4 --engine kexec --max-blackout 50ms
says '^no +blackout +max-blackout +the blackout would be about [0-9.]+ s at the least, and 50\.0 ms is allowed \(from the last upgrade of this kind\)' "a limit that it cannot keep: predicted, refused"
exits 2 "a limit that it keeps" "$khoctl" upgrade --dry-run --sysroot "$root" --to 7.3.4 --engine kexec --max-blackout 10min
says '^ok +blackout +max-blackout +[0-9.]+ s at the least' "a limit that it keeps: no refusal"
exits 2 "dry run after one by kexec" "$khoctl" upgrade --dry-run --sysroot "$root" --to 7.3.4 --engine kexec --json
says '"jump":[0-9]{7}' "dry run after one by kexec: the jump is a part"
exits 2 "check beside after one by kexec" "$khoctl" check --sysroot "$root" --to 7.3.4 --engine beside
says '^predicted blackout: - \(not known: no upgrade' "check beside after one by kexec: it says nothing of this"
rm -r "$root/var/lib/khoctl"
printf 'initramfs = host\n' > "$root/etc/khoctl/khoctl.conf"
exits 2 "no initrd" "$khoctl" check --sysroot "$root" --to 7.3.4
says '^no +initramfs +host +no initrd of 7.3.4 in /boot; fix: ' "no initrd: said, with the fix"
head -c 500 "$root/boot/vmlinuz-7.3.4" > "$root/boot/initrd.img-7.3.4"
exits 2 "damaged initrd" "$khoctl" check --sysroot "$root" --to 7.3.4
says '^no +initramfs .*/boot/initrd.img-7.3.4 +damaged: ' "damaged initrd: said"
printf 'initramfs = auto\n' > "$root/etc/khoctl/khoctl.conf"
exits 2 "damaged initrd, auto" "$khoctl" check --sysroot "$root" --to 7.3.4 --json
rm "$root/boot/initrd.img-7.3.4"
printf 'initramfs = mine\n' > "$root/etc/khoctl/khoctl.conf"
exits 2 "unknown initramfs" "$khoctl" check --sysroot "$root" --to 7.3.4
says 'initramfs = mine: want auto, khoctl or host' "unknown initramfs: said"
printf 'memory = plenty\n' > "$root/etc/khoctl/khoctl.conf"
exits 2 "bad configuration" "$khoctl" check --sysroot "$root" --to latest
says "khoctl.conf:1: memory = plenty" "bad configuration: file and line"
exits 2 "bad error in JSON" "$khoctl" check --sysroot "$root" --to latest --json
says '"exit":2' "the exit code is in the JSON, too"
rm "$root/etc/khoctl/khoctl.conf" "$root/boot/vmlinuz-"*
exits 2 "no other kernel" "$khoctl" check --sysroot "$root" --to latest
says "no other kernel in" "no other kernel: said"
finish
