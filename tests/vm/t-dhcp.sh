#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The Debian machine with systemd, its address by DHCP (dnsmasq, outside), and firewall rules that an operator has added since
# nftables.service read its file: through an upgrade the address is there all the time, the lease is renewed by the new systemd-networkd,
# the rules are those that were in force, and the client of redis sees nothing of it.
# Then ifupdown has the same address: with dhclient, brought up by networking.service, and back with dhcpcd, by ifup@.service. Its
# state comes along, nothing of /etc/network/interfaces is done a second time, and the client asks for the address it had.
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
# What the server has been asked so far, and for what.
asked() { grep -c "DHCP$1" "$out/dnsmasq.log" || true; }
# mark: from now on; renewed: the server has been asked for the address since, and for no other
mark() { acks=$(asked ACK) from=$(($(wc -l < "$out/dnsmasq.log") + 1)); }
renewed() {
	local i
	for i in $(seq 90); do
		[ "$(asked ACK)" -le "$acks" ] || break
		[ "$i" != 90 ] || die "the lease was not renewed: $(tail -n 5 "$out/dnsmasq.log")"
		sleep 1
	done
	! grep -E 'DHCP(NAK|DECLINE|RELEASE)' "$out/dnsmasq.log" || die "the server or the client refused, or it was released"
	! tail -n +"$from" "$out/dnsmasq.log" | grep DHCPDISCOVER || die "the client did not know its lease any more"
}
rules() { vm nft -s list ruleset | tr -d '\r'; }
address() { vm ip -o -4 addr show to 10.77.0.0/24 | tr -d '\r'; }

lab down > /dev/null 2>&1 || true
lab up --host --cpus 4 --mem 4096
: > "$out/dnsmasq.log"
ip netns exec "khoctl-lab-$LAB_NAME" dnsmasq --keep-in-foreground --no-hosts --no-resolv --conf-file=/dev/null --port=0 --interface=tap0 --bind-interfaces \
	--dhcp-range=10.77.0.2,10.77.0.2,255.255.255.0,10m --dhcp-host=52:54:00:77:00:02,id:*,10.77.0.2 --dhcp-option=3,10.77.0.1 --dhcp-leasefile="$out/leases" --log-dhcp --log-facility="$out/dnsmasq.log" \
	--pid-file= --user=root & dhcp=$!
# shellcheck disable=SC2016
vm sh -ec 'printf "[Match]\nType=ether\nKind=!*\n[Network]\nDHCP=ipv4\n[DHCPv4]\nClientIdentifier=mac\n" > /etc/systemd/network/05-dhcp.network
	networkctl reload; sleep 1; for i in $(seq 60); do ls /run/systemd/netif/leases/* > /dev/null 2>&1 && exit 0; sleep 1; done; networkctl; exit 1' ||
	die "no lease: $(tail -n 5 "$out/dnsmasq.log")"
address | grep -q ' 10\.77\.0\.2/24 .* dynamic ' || die "the address is not dynamic: $(address)"
ok "systemd-networkd has its address by DHCP"
vm nft 'add table inet extra; add chain inet extra in { type filter hook input priority 10; policy accept; }; add rule inet extra in tcp dport 22222 counter drop;
	add set inet extra banned { type ipv4_addr; flags timeout; }; add element inet extra banned { 203.0.113.7 timeout 1h }; add rule inet extra in ip saddr @banned drop'
vm sh -ec 'mkdir -p /run/resolvconf; echo "nameserver 10.77.0.1" > /run/resolvconf/resolv.conf; ln -sf ../run/resolvconf/resolv.conf /etc/resolv.conf'
rules > "$out/rules.0"
host_list
host_clients_start
host_remember
mark
host_upgrade 1 latest
address > "$out/address.1"
grep -q ' 10\.77\.0\.2/24 ' "$out/address.1" || die "the address is not what it was: $(cat "$out/address.1")"
ok "the address is there"
[ "$(vm cat /etc/resolv.conf | tr -d '\r')" = "nameserver 10.77.0.1" ] || die "what /etc/resolv.conf leads to is not there"
ok "resolv.conf, a link into /run, says what it said"
renewed
ok "the lease was renewed: $(grep -E 'DHCP(DISCOVER|REQUEST|ACK)' "$out/dnsmasq.log" | tail -n 2 | sed 's/.*: [0-9]* //' | paste -sd ' ')"
vm networkctl status --no-pager | tr -d '\r' > "$out/networkctl"
[ "$(vm systemctl is-active nftables | tr -d '\r\n')" = active ] || die "nftables.service is not active"
rules > "$out/rules.1"
diff -u "$out/rules.0" "$out/rules.1" || die "the rules are not those that were in force"
ok "the rules that were in force are in force, nftables.service is active"
vm systemctl restart nftables
! rules | grep -q extra || die "nftables.service does not read its file any more"
ok "nftables.service reads its file when it is started again"

# --- ifupdown ---
nic=$(address | awk '{ print $2 }')
# unpack PACKAGE...: its files into the machine
unpack() {
	local p
	for p in "$@"; do
		tar -C "$("$here/cache.sh" package "$p" | tail -n 1)" --exclude=./usr/share/doc --exclude=./usr/share/man -cf "$out/package.tar" .
		lab put "$out/package.tar" /var/tmp/package.tar
		vm tar -C / --keep-directory-symlink --no-same-owner -xf /var/tmp/package.tar
	done
}
# has NAME UNIT: the address, kept by the DHCP client NAME, which UNIT has started
has() {
	local i
	for i in $(seq 90); do
		! vm sh -c 'for p in $(cat "/sys/fs/cgroup/system.slice/$1/cgroup.procs"); do cat "/proc/$p/comm"; done' sh "$2" 2> /dev/null | tr -d '\r' | grep -qx "$1" || break
		[ "$i" != 90 ] || die "$1 does not run in $2: $(vm systemctl status --no-pager "$2")"
		sleep 1
	done
	# (ifup@.service has started before ifup is through)
	for i in $(seq 90); do
		[ "$(vm sh -c 'ifquery --state "$0"; cat /var/lib/ifup-ran' "$nic" 2> /dev/null | head -n 2 | tr -d '\r' | paste -sd ' ')" != "$nic=$nic $nic" ] || break
		[ "$i" != 90 ] || die "ifupdown does not know that $nic is up"
		sleep 1
	done
	address > "$out/address.$1"
	grep -q " $nic .* 10\.77\.0\.2/24 " "$out/address.$1" || die "$1: the address is not there: $(cat "$out/address.$1")"
	[ "$(vm cat /var/lib/ifup-ran | tr -d '\r')" = "$nic" ] || die "what /etc/network/interfaces has done at 'up' was done again"
	[ "$(vm systemctl is-active "$2" | tr -d '\r\n')" = active ] || die "$2 is not active"
}
unpack ifupdown isc-dhcp-client dhcpcd-base
# (the second line is what that package's script makes: its profile includes it)
# (dummy5 cannot be made twice: a second ifup would fail)
vm sh -ec 'useradd --system --no-create-home --shell /usr/sbin/nologin dhcpcd; mkdir -p /var/lib/dhcp /var/lib/dhcpcd; rm -f /var/tmp/package.tar
	: > /etc/apparmor.d/local/usr.sbin.dhclient
	printf "%s\n" "auto lo $0 dummy5" "iface lo inet loopback" "iface $0 inet dhcp" "  up echo $0 >> /var/lib/ifup-ran" \
		"iface dummy5 inet static" "  address 10.82.0.1/24" "  pre-up ip link add dummy5 type dummy" > /etc/network/interfaces
	systemctl daemon-reload; systemctl disable systemd-networkd; systemctl stop systemd-networkd.socket systemd-networkd
	systemctl enable --now networking' "$nic" || die "ifupdown cannot be set up: $(vm systemctl status --no-pager networking)"
has dhclient networking.service
mark
host_upgrade 2 "$(other_image)"
has dhclient networking.service
renewed
vm ip -o addr show dev dummy5 > "$out/dummy5"
grep -q ' 10\.82\.0\.1/24 ' "$out/dummy5" || die "dummy5 is not what it was: $(cat "$out/dummy5")"
ok "ifupdown with dhclient: the address is there, $(grep -c . "$out/address.dhclient") line, asked for again"

vm sh -ec 'systemctl disable networking; pkill -9 -x dhclient; rm -f /usr/sbin/dhclient /run/network/ifstate* /var/lib/ifup-ran
	sed -i -e "s/^auto .*/auto lo\nallow-hotplug $0/" -e "/^iface dummy5/,\$d" /etc/network/interfaces; ip link del dummy5
	systemctl start "ifup@$0"' "$nic" || die "dhcpcd cannot be set up: $(vm systemctl status --no-pager "ifup@$nic")"
has dhcpcd "ifup@$nic.service"
mark
host_upgrade 3 "$(other_image)"
has dhcpcd "ifup@$nic.service"
renewed
ok "ifupdown with dhcpcd: the address is there, asked for again"
host_clients_stop
ok "the client saw no error"
echo "$passed passed, 0 failed"
