#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Every verb has help, every wrong command line ends in 1 and names what is wrong.
# shellcheck source=tests/cli/tap.sh
. "$(dirname "$0")/tap.sh"

exits 0 "help" "$khoctl" --help
same "$top/tests/cli/expected/help.txt" "help as recorded"
for verb in check gates record compare canary upgrade status list console rollback resume watch image report history unlock version; do
	exits 0 "$verb --help" "$khoctl" "$verb" --help
	says "^Usage: khoctl $verb" "$verb --help names the verb"
	exits 1 "$verb refuses an unknown option" "$khoctl" "$verb" --nonsense
	says "no option '--nonsense'" "$verb names the option"
done
exits 1 "no verb" "$khoctl"
exits 1 "unknown verb" "$khoctl" teleport
says "no verb 'teleport'" "unknown verb is named"
exits 1 "upgrade without a target" "$khoctl" upgrade
says "^khoctl: upgrade: --to KERNEL" "says what is missing"
exits 1 "value missing" "$khoctl" upgrade --to
exits 1 "an option is no value" "$khoctl" upgrade --to --dry-run
exits 1 "flag with a value" "$khoctl" upgrade --dry-run=yes
exits 1 "bad size" "$khoctl" check --memory lots
says "'lots' is no size" "bad size is named"
exits 1 "too many arguments" "$khoctl" list me
exits 1 "hold in the blackout" "$khoctl" upgrade --to latest --hold-before shift
exits 1 "exec without hold" "$khoctl" upgrade --to latest --exec true
exits 1 "sysroot without dry run" "$khoctl" upgrade --to latest --sysroot /
wrong() { # OPTION VALUE WHAT-IS-WANTED: said before anything is looked at, also by who is not root
	exits 1 "upgrade $1 $2" "$khoctl" upgrade --to latest "$1" "$2"
	says "$3" "upgrade $1 $2: said"
}
wrong --max-blackout soon 'max-blackout soon: want a time like 50ms'
wrong --outgoing-panic maybe 'outgoing-panic maybe: want complete or wait'
wrong --rollback-on-failure soon 'rollback-on-failure soon: want a time like 60s'
wrong --regression soon 'regression soon: want a time like 10s'
wrong --regression 31s 'regression: want a time from 1s to 30s'
wrong --gate-limits wakup=1 "limit 'wakup=': there is no such gate"
wrong --engine warp "engine 'warp' is unknown"
exits 1 "gates, and no gates" "$khoctl" upgrade --to latest --gates --no-gates
exits 1 "dry run of a wrong value, in JSON" "$khoctl" upgrade --to latest --dry-run --max-blackout soon --json
says '"exit":1' "dry run of a wrong value, in JSON: said"
exits 1 "check of a wrong value" "$khoctl" check --max-blackout soon
exits 1 "canary: percent" "$khoctl" canary --kernel latest --slower much
says '--slower much: want percent' "canary: percent: said"
exits 1 "watch for no time" "$khoctl" watch --for soon
says "--for soon: want a time like 60s" "it says what is wanted"
exits 1 "canary without a kernel" "$khoctl" canary --load all
says "^khoctl: canary: --kernel KERNEL" "canary: says what is missing"
exits 1 "canary: no such load" "$khoctl" canary --kernel latest --load sched,shced
says "load 'shced': want all, some of sched,memory,vfs,net,crypto, or a command" "canary: the load that is none is named"
exits 1 "canary: a replay to nobody" "$khoctl" canary --kernel latest --replay
says "^khoctl: canary: --replay: requests are sent to a copy" "canary: a replay needs a shadow"
exits 1 "canary for no time" "$khoctl" canary --kernel latest --for soon --json
says '"exit":1' "canary for no time: in JSON"
exits 1 "canary: no such gate" "$khoctl" canary --kernel latest --gate-limits wakup=1
if [ "$(id -u)" = 0 ]; then
	exits 1 "canary: a file that cannot be written" "$khoctl" canary --kernel latest --junit /nowhere/at/all.xml
	says "junit /nowhere/at/all.xml" "canary: the file is named"
	exits 2 "canary: a kernel that is not there" "$khoctl" canary --kernel 0.0.1-none --json --junit "$tmp/junit.xml"
	says '"verdict":"none"' "canary refused: no verdict"
	exits 0 "canary refused: an error for who reads JUnit" grep -q '<testcase classname="canary" name="verdict"><error message=".*0.0.1-none' "$tmp/junit.xml"
fi
exits 1 "image without show" "$khoctl" image list x
exits 0 "version" "$khoctl" version --json
says '"region_revision"' "version tells the revision"
finish
