#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Debian packages that building and testing need; installs those that are missing. Works on Debian 12 and 13.
set -euo pipefail
# shellcheck source=tests/vm/common.sh
. "$(dirname "$0")/common.sh"
want=(gcc g++ make pkg-config libc6-dev binutils protobuf-c-compiler libprotobuf-c-dev libkmod-dev libmnl-dev libnftnl-dev libzstd-dev
	libarchive-dev zlib1g-dev libjson-c-dev libsmartcols-dev libmount-dev libblkid-dev libdevmapper-dev libcryptsetup-dev libelf-dev libbpf-dev libfdt-dev libpq-dev
	libcmocka-dev curl protobuf-compiler scdoc shellcheck codespell spin clang libclang-rt-dev bpftool cpio xz-utils zstd jq socat iproute2 e2fsprogs util-linux fdisk
	debian-archive-keyring dnsmasq-base)
missing=()
for p in "${want[@]}"; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2> /dev/null)" = installed ] || missing+=("$p")
done
[ ${#missing[@]} -gt 0 ] || exit 0
[ "$(id -u)" = 0 ] || fail "must be root to install: ${missing[*]}"
note "  APT     ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
install() { apt-get install -qq -y --no-install-recommends "${missing[@]}" > "$1" 2>&1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install "$log" || { apt-get update -qq && install "$log"; } || { cat "$log" >&2; fail "apt-get install failed"; }
