#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Each state that a journal can tell of: status says in one line where the machine is and what to type; rollback and resume answer to that.
# shellcheck source=tests/cli/tap.sh
. "$(dirname "$0")/tap.sh"

if ! unshare --user --map-root-user --mount true 2> /dev/null; then
	echo "# no namespaces here: skipped"
	[ -z "${KHOCTL_MUST_WORK:-}" ] || exits 0 "namespaces are there" unshare --user --map-root-user --mount true
	finish
fi

begin() { printf KHOJRNL1; rec '{"rec":"begin","pid":1,"from":"6.12.1","to":"7.3.4","generation":2,"engine":"beside","old_image":"/boot/vmlinuz-6.12.1","at_us":1}'; }
step() { rec "{\"rec\":\"step\",\"step\":\"$1\",\"act\":\"${2:-run}\",\"state\":\"begin\",\"at_us\":2}"; }
signed='{"rec":"signed","at_us":3}'
end() { rec "{\"rec\":\"end\",\"outcome\":\"$1\",\"msg\":\"$2\"}"; }

# of RUN STATE COMMAND...: with these files as the journal in RAM and on disk ("-": none)
of() {
	unshare --user --map-root-user --mount sh -ec 'mount -t tmpfs run /run; mount -t tmpfs lib /var/lib; mkdir -p /run/khoctl /var/lib/khoctl
		[ "$1" = - ] || cp "$1" /run/khoctl/journal; [ "$2" = - ] || cp "$2" /var/lib/khoctl/journal
		shift 2; exec "$@"' sh "$@"
}
# line NAME RUN STATE TEXT: status is that line, and no other
line() {
	exits 0 "$1" of "$2" "$3" "$khoctl" status
	[ "$(cat "$tmp/out")" = "$4" ] || sed 's/^/# /' "$tmp/out"
	result "$([ "$(cat "$tmp/out")" = "$4" ]; echo $?)" "$1: the line"
}

line none - - 'no upgrade has been run'
exits 2 "none: resume" of - - "$khoctl" resume
says 'no upgrade has been run' "none: resume says so"

{ begin; step freeze; } > "$tmp/j"
line interrupted "$tmp/j" "$tmp/j" '6.12.1 -> 7.3.4: INTERRUPTED: khoctl died in step freeze; next: khoctl rollback'
exits 2 "interrupted: resume" of "$tmp/j" "$tmp/j" "$khoctl" resume
says 'cannot be resumed.*not committed.*khoctl rollback undoes it' "interrupted: resume says why"
{ begin; step freeze; step spawn undo; } > "$tmp/j"
line undoing "$tmp/j" "$tmp/j" '6.12.1 -> 7.3.4: INTERRUPTED: khoctl died in the undo of step spawn; next: khoctl rollback'

{ begin; step commit; rec "$signed"; } > "$tmp/j"
line handed "$tmp/j" "$tmp/j" '6.12.1 -> 7.3.4: committed, and then khoctl died in step commit; next: khoctl resume'
exits 4 "handed: rollback" of "$tmp/j" "$tmp/j" "$khoctl" rollback
says '^committed: khoctl resume$' "handed: rollback says what to type"
{ begin; step commit; rec "$signed"; step settle; end upgraded ""; step retire; } > "$tmp/j"
line retire "$tmp/j" "$tmp/j" '6.12.1 -> 7.3.4: committed, and then khoctl died in step retire; next: khoctl resume'

{ begin; step precopy; } > "$tmp/j"
line rebooted - "$tmp/j" '6.12.1 -> 7.3.4: interrupted by a restart of the machine; nothing is left to undo'
exits 2 "rebooted: resume" of - "$tmp/j" "$khoctl" resume
{ begin; step precopy; end "rolled back" "precopy: injected"; } > "$tmp/j"
line "rolled back" "$tmp/j" "$tmp/j" '6.12.1 -> 7.3.4: rolled back: precopy: injected'
{ begin; step precopy; end "needs a person" "undo"; } > "$tmp/j"
line person "$tmp/j" "$tmp/j" '6.12.1 -> 7.3.4: needs a person: undo; next: khoctl rollback tries once more to undo the rest'
{ begin; step precopy; rec '{"rec":"takeover","why":"panicked"}'; rec "$signed"; end upgraded "alone"; } > "$tmp/j"
line takeover - "$tmp/j" '6.12.1 -> 7.3.4: upgraded: alone; next: khoctl log shows what the outgoing kernel said last'
{ begin; rec '{"rec":"back","why":"retrieve proc: injected"}'; end "rolled back" "7.3.4 could not go on"; } > "$tmp/b"
line "went back" - "$tmp/b" '6.12.1 -> 7.3.4: rolled back: 7.3.4 could not go on'
exits 0 "went back: report" of - "$tmp/b" "$khoctl" report
says '^7\.3\.4 was given up: retrieve proc: injected$' "went back: report says why"
exits 2 "takeover: resume" of - "$tmp/j" "$khoctl" resume
says 'the last upgrade has ended' "takeover: nothing to resume"
finish
