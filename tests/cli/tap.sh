# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# TAP for tests of the command line: source it, call is/like/exits, end with `finish`.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
B=${B:-$top/build}
case $B in /*) ;; *) B=$top/$B ;; esac
# shellcheck disable=SC2034 # for the tests
khoctl=$B/khoctl
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
count=0 bad=0

result() { # OK NAME
	count=$((count + 1))
	if [ "$1" = 0 ]; then
		echo "ok $count - $2"
	else
		echo "not ok $count - $2"
		bad=$((bad + 1))
	fi
}
# exits CODE NAME COMMAND...: the command's exit code; output and errors stay in $tmp/out
exits() {
	local want=$1 name=$2 rc=0
	shift 2
	"$@" > "$tmp/out" 2>&1 < /dev/null || rc=$?
	if [ "$rc" != "$want" ]; then sed 's/^/# /' "$tmp/out"; echo "# exit code $rc, wanted $want"; fi
	result "$([ "$rc" = "$want" ]; echo $?)" "$name"
}
# says PATTERN NAME: the last output has a line that matches the extended regular expression
says() {
	local rc=0
	grep -qE -- "$1" "$tmp/out" || rc=1
	if [ "$rc" != 0 ]; then echo "# nothing matches: $1"; sed 's/^/# /' "$tmp/out"; fi
	result "$rc" "$2"
}
# same FILE NAME: the last output is FILE, byte for byte (UPDATE=1 writes FILE)
same() {
	local rc=0
	[ -z "${UPDATE:-}" ] || cp "$tmp/out" "$1"
	diff -u "$1" "$tmp/out" > "$tmp/diff" || rc=1
	sed 's/^/# /' "$tmp/diff"
	result "$rc" "$2"
}
# same_json FILE NAME: the same values; versions of json-c differ in blanks
same_json() {
	jq . "$tmp/out" > "$tmp/jq" && mv "$tmp/jq" "$tmp/out"
	same "$@"
}
# One record of a journal (docs/formats.md): length, CRC-32 (gzip's trailer has it), text
rec() {
	# shellcheck disable=SC2059
	printf "\\x$(printf %02x $((${#1} & 255)))\\x$(printf %02x $((${#1} >> 8)))\\x00\\x00"
	printf %s "$1" | gzip -c | tail -c 8 | head -c 4
	printf %s "$1"
}
# A kernel image that has nothing but a header: make_image FILE RELEASE
make_image() {
	head -c 4096 /dev/zero > "$1"
	poke() { printf '%b' "$2" | dd of="$file" bs=1 seek=$(($1)) conv=notrunc status=none; }
	local file=$1
	poke 0x1f1 '\0003'
	poke 0x1f4 '\0200'
	poke 0x1fe '\0125\0252'
	poke 0x200 '\0353\0146'
	poke 0x211 '\0001'
	poke 0x202 'HdrS\0017\0002'
	poke 0x20f '\0004'
	poke 0x234 '\0001'
	poke 0x236 '\0077'
	poke 0x232 '\0040'
	poke 0x239 '\0010'
	poke 0x24d '\0001'
	poke 0x25b '\0001'
	poke 0x263 '\0002'
	poke 0x600 "$2 (nobody) #1 SMP"
}
finish() {
	echo "1..$count"
	[ "$bad" = 0 ]
}
