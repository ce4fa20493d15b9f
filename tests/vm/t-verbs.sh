#!/usr/bin/env bash
# The verbs of an operator, with a real upgrade under them and one client connected all the time: the question at a terminal,
# status and rollback from a second session, khoctl killed in the middle, what is to be seen afterwards, and the way back.
set -euo pipefail
LABNAME=${LAB_NAME:-verbs}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
export CPUS=4
passed=0 held=
trap 'echo "$passed passed, 1 failed"; lab down > /dev/null 2>&1 || true; [ -z "$client_pid" ] || kill "$client_pid" 2> /dev/null || true' EXIT

# ends CODE NAME COMMAND...: in the VM; what it prints is in $out/NAME
ends() {
	local want=$1 name=$2 rc=0
	shift 2
	vm "$@" > "$out/$name" 2>&1 || rc=$?
	[ "$rc" = "$want" ] || { tail -n 30 "$out/$name"; die "$name: exit code $rc, wanted $want"; }
	passed=$((passed + 1))
}
# says NAME PATTERN: a line of it matches
says() {
	grep -qE -- "$2" "$out/$1" || { tail -n 30 "$out/$1"; die "$1: says nothing of /$2/"; }
	passed=$((passed + 1))
}
# has NAME FILTER: its JSON fulfils it
has() {
	jq -e "$2" "$out/$1" > /dev/null || { head -n 40 "$out/$1"; die "$1: not $2"; }
	passed=$((passed + 1))
}
same_machine() {
	machine > "$out/$1.after"
	diff -u "$out/before" "$out/$1.after" || die "$1: the machine is not as it was"
	[ $(($(mem_free) + 65536)) -ge "$free" ] || die "$1: memory is missing"
	[ "$(vm sh -c 'ps -o stat= -p "$(cat /run/redis.pid)"' | cut -c1)" != T ] || die "$1: redis is left stopped"
	client_alive
	passed=$((passed + 1))
	echo "ok    $1: machine as before, same connection"
}
# in_step STEP: wait until the running upgrade is there
in_step() {
	vm sh -c "i=0; until grep -q ' $1 ' /run/khoctl/lock 2> /dev/null; do i=\$((i+1)); [ \$i -lt 3000 ] || exit 1; sleep 0.05; done" ||
		die "no upgrade comes to $1"
}
# After khoctl died: nobody may begin another one, status says what to type, and that does it.
undone_from_journal() { # NAME STEP
	ends 0 "$1.status" khoctl status
	says "$1.status" "INTERRUPTED: khoctl died in step $2; next: khoctl rollback\$"
	ends 0 "$1.json" khoctl status --json
	has "$1.json" '.state == "interrupted" and .step == "'"$2"'" and .next == "khoctl rollback"'
	ends 6 "$1.second" khoctl upgrade --to "$image"
	says "$1.second" 'run khoctl rollback first'
	ends 0 "$1.rollback" khoctl rollback
	says "$1.rollback" '^rolled back: the machine is as before'
	same_machine "$1"
	ends 0 "$1.ended" khoctl status
	says "$1.ended" "rolled back: khoctl died in step $2"
	ends 2 "$1.again" khoctl rollback
	says "$1.again" '^nothing to undo'
}

lab down > /dev/null 2>&1 || true
lab up --cpus 4 --mem 4096
lab put "$top/build/tests/vm/pty" /usr/sbin/pty
redis_start 32
client_start
image=$(other_image) from=$(vm_release) to=${image#/boot/vmlinuz-}
FROM=${from//+/.} TO=${to//+/.} # in patterns
vm khoctl check --to "$image" > "$out/check" || { cat "$out/check"; die "check"; }
ends 0 none khoctl status
says none '^no upgrade has been run$'
ends 2 none.rollback khoctl rollback
ends 2 none.report khoctl report
ends 2 none.console khoctl console
machine > "$out/before"
free=$(mem_free)

say "a terminal is asked first"
ends 7 no pty '[y/N]' n khoctl upgrade --to "$image"
says no "$FROM -> $TO. Go on\? \[y/N\] n"
says no 'declined: not agreed to; nothing was touched'
ends 7 ctrl-c pty '[y/N]' '^C' khoctl upgrade --to "$image"
ends 7 eof pty '[y/N]' '^D' khoctl upgrade --to "$image"
ends 0 no.status khoctl status
says no.status '^no upgrade has been run$'
same_machine declined

say "a second session looks, and stops it"
(rc=0; vm khoctl upgrade --to "$image" --hold-before freeze > "$out/held" 2>&1 || rc=$?; echo $rc > "$out/held.rc") &
held=$!
in_step precopy
vm khoctl console > "$out/console" 2>&1 &
console=$!
(rc=0; vm khoctl status --follow > "$out/follow" 2>&1 || rc=$?; echo $rc > "$out/follow.rc") &
follow=$!
until grep -q 'held before freeze' "$out/held"; do kill -0 $held 2> /dev/null || die "held: $(tail -n 3 "$out/held")"; sleep 0.3; done
ends 0 run.status khoctl status
says run.status "^$FROM -> $TO: running, step hold-before-freeze \(pid [0-9]+\); next: khoctl status --follow to watch it, khoctl rollback to stop"
[ "$(wc -l < "$out/run.status")" = 1 ] || die "status is not one line"
ends 0 run.json khoctl status --json
has run.json '.state == "running" and .step == "hold-before-freeze" and .pid > 1 and .undoing == false and .to == "'"$to"'"'
ends 6 second khoctl upgrade --to "$image"
says second "busy: another upgrade is running \(pid $(jq .pid "$out/run.json"), step hold-before-freeze\)"
ends 6 check.busy khoctl check --to "$image"
says check.busy "an upgrade is running \(pid $(jq .pid "$out/run.json"), step hold-before-freeze\)"
ends 6 dry.busy khoctl upgrade --to "$image" --dry-run
ends 0 list.json khoctl list --json
has list.json '[.instances[] | .release] == ["'"$from"'", "'"$to"'"] and (.instances | map(.cpus | length) | add) == 4'
ends 0 list khoctl list
says list "^2 +2 +$TO +ready"
for s in clock host netdev block files proc; do
	ends 0 "blob.$s" khoctl image show --json "/run/khoctl/blobs/$s.preserve"
	has "blob.$s" '.kind == "blob" and .serializer == "'$s'" and .bytes > 0 and .unknown_fields == null'
done
has blob.netdev '.fields.link[] | select(.name == "eth0") | .mtu == 1500'
has blob.proc '.message == "kho_proc.Plan" and .fields.workloads[0].name == "redis"'
ends 0 blob.text khoctl image show /run/khoctl/netdev-out.state
says blob.text '^link\[1\]\.name +eth0$'
ends 0 criu khoctl image show /run/khoctl/images
says criu '^redis/pre\.0/pages-1\.img +'
ends 0 criu.one khoctl image show /run/khoctl/images/redis/pre.0/pagemap-"$(vm cat /run/redis.pid | tr -d '\r')".img
says criu.one '^records +[1-9]'
ends 0 rollback khoctl rollback
says rollback '^rolled back: the machine is as before'
wait $held $follow
[ "$(cat "$out/held.rc") $(cat "$out/follow.rc")" = "3 3" ] || die "upgrade and status --follow end with $(cat "$out/held.rc") and $(cat "$out/follow.rc")"
says held 'rolled back: held before freeze and stopped'
says follow ' undo +reserve '
wait $console || die "console does not end in order"
says console 'khoctl-incoming: '
same_machine stopped

say "khoctl is killed while it copies"
vm khoctl upgrade --to "$image" > "$out/killed" 2>&1 &
held=$!
in_step precopy
vm pkill -9 -x khoctl
wait $held && die "killed, and all is well?"
undone_from_journal precopy precopy

say "khoctl is killed when the incoming kernel has everything but the signature"
ends 4 restore env KHOCTL_FAULT=restore.after:kill khoctl upgrade --to "$image"
says restore 'ended without a result; see khoctl status'
undone_from_journal restore-killed restore

say "yes: upgrade"
(rc=0; vm pty '[y/N]' y khoctl upgrade --to "$image" > "$out/yes" 2>&1 || rc=$?; echo $rc > "$out/yes.rc") &
held=$!
in_step handshake
(rc=0; vm khoctl status --follow > "$out/follow2" 2>&1 || rc=$?; echo $rc > "$out/follow2.rc") &
follow=$!
wait $held $follow
[ "$(cat "$out/yes.rc") $(cat "$out/follow2.rc")" = "0 0" ] || { tail "$out/yes" "$out/follow2"; die "upgrade and status --follow end with $(cat "$out/yes.rc") and $(cat "$out/follow2.rc")"; }
says yes "^$FROM -> $TO, generation 2, engine [a-z]+: upgraded"
says follow2 '^blackout: '
wait_alone "$to"
client_alive
ends 0 up.status khoctl status
says up.status "^$FROM -> $TO: upgraded\$"
ends 0 up.report khoctl report
says up.report '^blackout: '
ends 0 up.list khoctl list
says up.list "^2\* +2 +$TO +running +"
ends 0 up.proc cat /proc/multikernel
says up.proc "^2 +2 +$TO +running +"
ends 2 up.console khoctl console
ends 0 journal khoctl image show --json /var/lib/khoctl/journal
has journal '.kind == "journal" and .torn == false and ([.records[] | select(.rec == "signed")] | length) == 1 and ([.records[] | select(.rec == "end").outcome] == ["upgraded"])'
ends 0 kernel khoctl image show "$image"
says kernel "^release +$TO\$"
vm sh -c 'head -c 3000 /dev/urandom > /run/garbage; cp /run/garbage /run/netdev.state; head -c 5000 /var/lib/khoctl/journal > /data/torn'
ends 2 garbage khoctl image show /run/garbage
says garbage 'neither a kernel image nor a journal nor a CRIU image'
ends 2 garbage.blob khoctl image show /run/netdev.state
says garbage.blob 'no message of the serializer netdev'
ends 0 torn khoctl image show /data/torn
says torn '^\(the tail is torn\)$'

say "the way back"
ends 2 back.how khoctl rollback
says back.how "khoctl upgrade --to /boot/vmlinuz-$FROM\$"
ends 0 back khoctl rollback --yes
says back "^$TO -> $FROM, generation 3, engine [a-z]+: upgraded"
wait_alone "$from"
ends 0 back.list khoctl list
says back.list "^3\* +3 +$FROM +running +"
client_stop
client_whole
passed=$((passed + 1))

say "a journal without an end"
vm cp /data/torn /var/lib/khoctl/journal
ends 0 rebooted khoctl status
says rebooted 'interrupted by a restart of the machine; nothing is left to undo'
ends 2 rebooted.rollback khoctl rollback
echo "ok    one connection, $(jq .acked "$out/client.json") replies in order"
trap - EXIT
lab down > /dev/null 2>&1 || true
echo "$passed passed, 0 failed"
