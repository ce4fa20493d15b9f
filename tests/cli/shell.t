#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The bash completion completes, the man page is well-formed, install puts everything where it belongs.
# shellcheck source=tests/cli/tap.sh
. "$(dirname "$0")/tap.sh"

complete_for() { # WORDS...: what the completion offers for the last word
	bash -c '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _khoctl; printf "%s\n" "${COMPREPLY[@]}"' \
		_ "$top/khoctl/completion.bash" "$@"
}
exits 0 "completion of verbs" complete_for khoctl up
says '^upgrade$' "up -> upgrade"
exits 0 "completion of options" complete_for khoctl upgrade --dr
says '^--dry-run$' "--dr -> --dry-run"
exits 0 "completion of steps" complete_for khoctl upgrade --hold-before fr
says '^freeze$' "fr -> freeze"
exits 0 "man page" sh -c "scdoc < '$top/docs/man/khoctl.8.scd'"
says '^\.TH "khoctl" "8"' "man page is one"
finish
