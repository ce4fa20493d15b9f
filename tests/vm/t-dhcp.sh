#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The Debian machine with systemd, its address by DHCP (dnsmasq, outside), and firewall rules that an operator has added since
# nftables.service read its file: through an upgrade the address is there all the time, the lease is renewed by the new systemd-networkd,
# the rules are those that were in force, and the client of redis sees nothing of it.
set -euo pipefail
LABNAME=${LAB_NAME:-dhcp}
SERVICES=redis
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
# shellcheck source=tests/vm/e2e_host.sh
. "$(dirname "$0")/e2e_host.sh"
export CPUS=4
dhcp=
trap '[ -z "$dhcp" ] || kill "$dhcp" 2> /dev/null || true; host_clients_kill; [ -n "${KEEP:-}" ] || lab down > /dev/null 2>&1 || true' EXIT
passed=0
ok() { echo "ok    $*"; passed=$((passed + 1)); }
# What the server has been asked so far, and for what.
asked() { grep -c "DHCP$1" "$out/dnsmasq.log" || true; }
rules() { vm nft -s list ruleset | tr -d '\r'; }
# shellcheck disable=SC2016
address() { vm sh -c 'ip -o -4 addr show dev $(ls /sys/class/net | grep -v -e lo -e kho | head -n 1)' | tr -d '\r'; }

lab down > /dev/null 2>&1 || true
lab up --host --cpus 4 --mem 4096
: > "$out/dnsmasq.log"
ip netns exec "khoctl-lab-$LAB_NAME" dnsmasq --keep-in-foreground --no-hosts --no-resolv --conf-file=/dev/null --port=0 --interface=tap0 --bind-interfaces \
	--dhcp-range=10.77.0.2,10.77.0.2,255.255.255.0,10m --dhcp-option=3,10.77.0.1 --dhcp-leasefile="$out/leases" --log-dhcp --log-facility="$out/dnsmasq.log" \
	--pid-file= --user=root & dhcp=$!
# shellcheck disable=SC2016
vm sh -ec 'printf "[Match]\nType=ether\nKind=!*\n[Network]\nDHCP=ipv4\n[DHCPv4]\nClientIdentifier=mac\n" > /etc/systemd/network/05-dhcp.network
	networkctl reload; sleep 1; for i in $(seq 60); do ls /run/systemd/netif/leases/* > /dev/null 2>&1 && exit 0; sleep 1; done; networkctl; exit 1' ||
	die "no lease: $(tail -n 5 "$out/dnsmasq.log")"
address | grep -q ' 10\.77\.0\.2/24 .* dynamic ' || die "the address is not dynamic: $(address)"
ok "systemd-networkd has its address by DHCP"
vm nft 'add table inet extra; add chain inet extra in { type filter hook input priority 10; policy accept; }; add rule inet extra in tcp dport 22222 counter drop;
	add set inet extra banned { type ipv4_addr; flags timeout; }; add element inet extra banned { 203.0.113.7 timeout 1h }; add rule inet extra in ip saddr @banned drop'
rules > "$out/rules.0"
host_list
host_clients_start
host_remember
n=$(asked ACK)
host_upgrade 1 latest
address > "$out/address.1"
grep -q ' 10\.77\.0\.2/24 .* dynamic ' "$out/address.1" || die "the address is not what it was: $(cat "$out/address.1")"
ok "the address is there"
for i in $(seq 60); do
	[ "$(asked ACK)" -le "$n" ] || break
	[ "$i" != 60 ] || die "the new systemd-networkd has not renewed the lease: $(tail -n 5 "$out/dnsmasq.log")"
	sleep 1
done
! grep -E 'DHCP(NAK|DECLINE|RELEASE)' "$out/dnsmasq.log" || die "the server or the client refused"
ok "the lease was renewed: $(grep -E 'DHCP(DISCOVER|REQUEST|ACK)' "$out/dnsmasq.log" | tail -n 2 | sed 's/.*: [0-9]* //' | paste -sd ' ')"
vm networkctl status --no-pager | tr -d '\r' > "$out/networkctl"
[ "$(vm systemctl is-active nftables | tr -d '\r\n')" = active ] || die "nftables.service is not active"
rules > "$out/rules.1"
diff -u "$out/rules.0" "$out/rules.1" || die "the rules are not those that were in force"
ok "the rules that were in force are in force, nftables.service is active"
vm systemctl restart nftables
! rules | grep -q extra || die "nftables.service does not read its file any more"
ok "nftables.service reads its file when it is started again"
host_clients_stop
ok "the client saw no error"
echo "$passed passed, 0 failed"
