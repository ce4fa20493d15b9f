#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Runs in the VM: the floor of every blackout, `criu dump` + `criu restore` of one process tree on one kernel and nothing else
# (no pre-dump, images in RAM). The process lives on, with its connections.
#   floor.sh PIDFILE        prints: dump_us N, restore_us N, total_us N
set -u
pid=$(cat "$1") || exit 1
w=$(mktemp -d /run/floor.XXXXXX)
trap 'rm -rf "$w"' EXIT
now() { date +%s%6N; }

# nftables: there are no iptables here. criu's probing of the kernel is done once, before the clock runs.
opts='--tcp-established --network-lock nftables --file-locks --shell-job'
criu check > /dev/null 2>&1

# shellcheck disable=SC2086
run() { criu "$@" -D "$w" $opts -v1; }
a=$(now)
run dump -t "$pid" -o dump.log || { tail -n 20 "$w/dump.log"; exit 2; }
b=$(now)
run restore -d -o restore.log || { tail -n 20 "$w/restore.log"; exit 3; }
c=$(now)
printf 'dump_us %d\nrestore_us %d\ntotal_us %d\n' $((b - a)) $((c - b)) $((c - a))
