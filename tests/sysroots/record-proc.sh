#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Record what the process serializer's probe reads of some processes, as a tree for --sysroot:
#   record-proc.sh DEST PID...      (as root; the first PID's network tables stand for all)
# UNIX peers are recorded by `ss` (iproute2), kinds of sockets by `getfattr` (attr), if they are there.
set -eu
dest=$1
shift
first=
for pid in self "$@"; do
	d=$dest/proc/$pid
	mkdir -p "$d/ns"
	for n in /proc/"$pid"/ns/*; do ln -sfn "$(readlink "$n")" "$d/ns/${n##*/}"; done
	[ "$pid" != self ] || continue
	mkdir -p "$d/fd" "$d/fdinfo"
	for f in stat status maps mountinfo comm cgroup; do cat "/proc/$pid/$f" > "$d/$f"; done
	ln -sfn "$(readlink "/proc/$pid/exe")" "$d/exe"
	for n in /proc/"$pid"/fd/*; do
		ln -sfn "$(readlink "$n")" "$d/fd/${n##*/}"
		cat "/proc/$pid/fdinfo/${n##*/}" > "$d/fdinfo/${n##*/}"
		case $(readlink "$n") in
		socket:*)
			mkdir -p "$d/fdproto"
			getfattr --only-values -n system.sockprotoname "$n" 2> /dev/null | tr -d '\0' > "$d/fdproto/${n##*/}" || :
			;;
		esac
	done
	[ -z "$first" ] || { ln -sfn "../$first/net" "$d/net"; continue; }
	first=$pid
	mkdir -p "$d/net"
	for f in tcp tcp6 udp udp6 raw raw6 packet netlink unix; do
		[ ! -r "/proc/$pid/net/$f" ] || cat "/proc/$pid/net/$f" > "$d/net/$f"
	done
done
if command -v ss > /dev/null; then
	mkdir -p "$dest/proc/net"
	# columns: netid state recv send local-address local-inode peer-address peer-inode
	ss -xanH | awk '$6 ~ /^[0-9]+$/ && $8 ~ /^[0-9]+$/ { print $6, $8 }' > "$dest/proc/net/unix_peers"
fi
