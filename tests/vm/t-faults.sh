#!/usr/bin/env bash
# Bad luck on purpose: the list that build/fault-list makes from khoctl's tables, one fault after the other in one VM, with redis and one
# client outside on its one connection as the judge. Afterwards either all is as before on the outgoing kernel, or all is there on
# the incoming one; no reply is lost or comes twice.
#   FAULTS=spread (default: a dozen that differ most), FAULTS=all (make test-faults), or a pattern for grep -E on the list's lines
#   GATES=all: each upgrade measures the incoming kernel (default for a spread); GATES=few: those whose fault is near the gates do, and
#   each fourth of the others (default else: the gates are a third of an upgrade's time in the emulator)
#   FROM=N: of these the Nth and what follows (1)
#   PART=K/N: of these the Kth, and each Nth after it, for several machines (two VMs on two CPUs are slower than one after the other)
set -euo pipefail
LABNAME=${LAB_NAME:-faults}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
export CPUS=4
trap 'lab down > /dev/null 2>&1 || true; [ -z "$client_pid" ] || kill "$client_pid" 2> /dev/null || true' EXIT
gates=${GATES:-$([ "${FAULTS:-spread}" = spread ] && echo all || echo few)}
struck=0 held=0 failed=0 cap=0 acked=0 why=

# What everything is compared with from here on.
baseline() {
	image=$(other_image)
	machine > "$out/before"
	free=$(mem_free)
}
fresh() {
	lab down > /dev/null 2>&1 || true
	[ -z "$client_pid" ] || { kill "$client_pid" 2> /dev/null || true; wait "$client_pid" 2> /dev/null || true; }
	lab up --cpus 4 --mem 4096
	local rel m
	for rel in $(vm ls /lib/modules | tr -d '\r'); do
		for m in hang scribble; do lab put "$top/build/module/$rel/khoctl-$m.ko" "/lib/modules/$rel/updates/khoctl-$m.ko"; done
	done
	redis_start 16
	client_start
	vm khoctl check --to "$(other_image)" > /dev/null || die "check"
	# the first upgrade leaves a few things that stay, as caches; and its longest step shows how long those may have that wait in vain (a file's
	# transfer gives up by itself after 30 s, and that must be within twice this time, or the step counts as stuck)
	vm env KHOCTL_FAULT=restore.before:fail khoctl upgrade --to "$(other_image)" > "$out/first.txt" 2>&1 || true
	cap=$(awk '$1 ~ /^(ok|FAIL|undo)$/ && $4 == "s" && $3 > s { s = $3 } END { print int(2 * s + 10) }' "$out/first.txt")
	acked=0
	baseline
}

bad() { why=$*; return 1; }

# The client sees no error, and gets answers now.
client_goes_on() {
	local i n line
	for i in $(seq 120); do
		kill -USR1 "$client_pid" 2> /dev/null || { bad "the client ended: $(tail -n 1 "$out/client.json")"; return; }
		sleep 0.5
		line=$(tail -n 1 "$out/client.err")
		[ "$(jq '.errors + .resets + .out_of_order' <<< "$line")" = 0 ] || { bad "the client saw errors: $line"; return; }
		n=$(jq .acked <<< "$line")
		# the first time may still count what was answered before
		[ "$i" = 1 ] || [ "$n" -le "$acked" ] || { acked=$n; return 0; }
		[ "$i" != 1 ] || acked=$n
	done
	bad "the client gets no answers"
}
as_before() {
	client_goes_on || return
	machine > "$out/after"
	diff -u "$out/before" "$out/after" > "$out/diff" || { bad "the machine is not as it was: $(grep '^[-+][^-+]' "$out/diff" | head -n 3 | tr '\n' ' ')"; return; }
	[ $(($(mem_free) + 65536)) -ge "$free" ] || { bad "memory is missing"; return; }
	[ "$(vm sh -c 'ps -o stat= -p "$(cat /run/redis.pid)"' | cut -c1)" != T ] || bad "redis is left stopped"
}
# each fault of a list was told, wherever
all_struck() {
	local f
	for f in ${1//,/ }; do
		grep -qF "fault struck: $f" "$out/told" || { bad "$f never struck"; return; }
	done
}
# roll_back: khoctl status says so, and it is typed
roll_back() {
	vm khoctl status > "$out/status.txt" 2>&1 || true
	grep -q 'khoctl rollback' "$out/status.txt" || { bad "status does not say what to type: $(tail -n 1 "$out/status.txt")"; return; }
	vm khoctl rollback > "$out/rollback.txt" 2>&1 || bad "khoctl rollback: $(tail -n 1 "$out/rollback.txt")"
}
upgraded() {
	(wait_alone "${image#/boot/vmlinuz-}") 2> "$out/alone.txt" || { bad "$(tail -n 1 "$out/alone.txt")"; return; }
	client_goes_on || return
	# what struck when the operator had the result: the outgoing kernel's log tells it, behind our mark, or the incoming one's
	{ vm dmesg; vm khoctl log | tac | sed '/t-faults begins/q'; } >> "$out/told" 2>&1 || true
	baseline
}

# whether the upgrade that FAULTS strike has gates
gated() {
	[ "$gates" = few ] || return 0
	case $1 in *probe* | *freeze.after* | *settle* | *link.ready*) return 0 ;; esac
	[ $((struck % 4)) = 0 ]
}

declare -A code=([refused]=2 [undone]=3 [killed]=4 [again]=4 [upgraded]=0)
# judge WANT OPTIONS FAULTS: 0, or 1 with $why
judge() {
	local want=$1 options=$2 faults=$3 rc=0 words=(KHOCTL_FAULT="$3")
	case $options in *cap*) words+=(KHOCTL_DEADLINE_SECONDS="$cap") ;; esac
	case $options in *peer*) set -- --cmdline khoctl.fault=1 ;; *) set -- ;; esac
	gated "$faults" || set -- "$@" --no-gates
	vm sh -c 'echo t-faults begins > /dev/kmsg'
	vm env "${words[@]}" khoctl upgrade --to "$image" "$@" > "$out/told" 2>&1 || rc=$?
	shown=$rc
	[ "$rc" = "${code[$want]}" ] || { bad "exit code $rc, not ${code[$want]}: $(grep -a . "$out/told" | tail -n 1 | cut -c1-200)"; return; }
	case $want in killed | again) roll_back || return ;; esac
	if [ "$want" = upgraded ]; then upgraded || return; else as_before || return; fi
	all_struck "$faults"
}
where() { case $(vm_release) in "$outgoing") echo outgoing ;; *) echo incoming ;; esac; }

# once_more WANT OPTIONS FAULTS: what went wrong was not the fault's doing; $was is that of another try
once_more() {
	echo "     $3: $why; once more"
	was=ok why=
	judge "$@" || was=FAIL
}
one() {
	local t0=$SECONDS was=ok shown='?' outgoing place
	outgoing=$(vm_release)
	why=
	judge "$@" || was=FAIL
	# an emulator that runs code which the kernel has patched away (docs/TESTING.md): undone as it has to be, and no fault of this list
	if [ "$was" = FAIL ] && grep -aq 'Oops: int3' "$out/told"; then
		once_more "$@"
	fi
	# CRIU was killed in one of the moments in which its tracees die with it (docs/limits.md), and khoctl says so
	if [ "$was" = FAIL ] && [[ $3 == *:criu* ]] && grep -aq 'ended while CRIU was at it' "$out/told"; then
		fresh
		outgoing=$(vm_release)
		once_more "$@"
	fi
	struck=$((struck + 1))
	place=$(where 2> /dev/null || echo nowhere)
	printf '%-4s %-60s exit %-3s %-9s %4d s  %s\n' "$was" "$3" "$shown" "$place" $((SECONDS - t0)) "$why"
	if [ "$was" = ok ]; then
		held=$((held + 1))
	else
		failed=$((failed + 1))
		cp "$out/told" "$out/failed.$failed.txt" 2> /dev/null || true
		for place in outgoing incoming; do cp "$top/build/lab/$LAB_NAME/$place.log" "$out/failed.$failed.$place.log" 2> /dev/null || true; done
		# of the kernel beside: what it says now, if it is there, and what was kept when it was given up
		{ vm timeout 8 khoctl console; vm khoctl log; } > "$out/failed.$failed.khoctl.log" 2>&1 || true
		grep -a -m 1 -A 45 -E 'BUG: |Oops|general protection|Internal error' "$out/failed.$failed.khoctl.log" | cut -c1-140 || true
		fresh
	fi
}

# CRIU's images are gone when khoctl, killed while the incoming side restores, is undone
images_gone() {
	local rc=0
	shown='?'
	vm env KHOCTL_FAULT=restore.before:kill khoctl upgrade --to "$image" > "$out/told" 2>&1 || rc=$?
	[ "$rc" = 4 ] || { bad "exit code $rc"; return; }
	vm sh -c 'rm /run/khoctl/images/redis/final/core-*' || { bad "there were no images"; return; }
	roll_back && as_before && all_struck restore.before:kill
}

list() {
	case ${FAULTS:-spread} in
	spread) "$top/build/fault-list" spread ;;
	all) "$top/build/fault-list" ;;
	*) "$top/build/fault-list" | grep -E -- "$FAULTS" || true ;;
	esac
}

list | tail -n "+${FROM:-1}" | awk -v part="${PART:-1/1}" 'BEGIN { split(part, p, "/") } NR % p[2] == p[1] % p[2]' > "$out/list"
[ -s "$out/list" ] || die "no fault is like $FAULTS"
fresh
while IFS=$'\t' read -r want options faults <&3; do
	one "$want" "$options" "$faults"
done 3< "$out/list"
if images_gone; then
	held=$((held + 1))
	echo "ok   the images are gone when it is undone"
else
	failed=$((failed + 1))
	echo "FAIL the images are gone when it is undone: $why"
fi
struck=$((struck + 1))
client_stop
[ "$(jq '.errors + .resets + .out_of_order' "$out/client.json")" = 0 ] && [ "$(jq '.sent == .acked' "$out/client.json")" = true ] ||
	{ echo "FAIL the client: $(cat "$out/client.json")"; failed=$((failed + 1)); }
echo "$struck faults, $held held; one connection, $(jq .acked "$out/client.json") replies in order"
echo "$held passed, $failed failed"
[ "$failed" = 0 ]
