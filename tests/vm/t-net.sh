#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The network as a host has it, through an upgrade that fails, one that works, and the way back: three NICs, two of them a bond; VLAN, bridge
# with VLANs of its own, dummy; IPv6; qdiscs; policy rules and tables; a firewall that lets in nothing but what it must, NAT, connection tracking.
# Through it: 1,000 TCP connections and UDP to one process, connections over IPv6, over the bond, and translated ones that only pass.
set -euo pipefail
LABNAME=${LAB_NAME:-net}
# shellcheck source=tests/vm/e2e.sh
. "$(dirname "$0")/e2e.sh"
export CPUS=4
many=$top/build/tests/vm/many
MANY=${MANY:-1000}
declare -A client=()
server=
stop_all() {
	local c
	for c in "${client[@]}" $server; do [ -z "$c" ] || kill "$c" 2> /dev/null || true; done
}
trap 'stop_all; [ -n "${KEEP:-}" ] || lab down > /dev/null 2>&1 || true' EXIT

# hold NAME ADDRESS PORT N: a client outside
hold() {
	ip netns exec "khoctl-lab-$LAB_NAME" "$many" hold "$2" "$3" "$4" > "$out/client.$1.json" 2> "$out/client.$1.err" &
	client[$1]=$!
	for _ in $(seq 300); do
		! grep -q connections "$out/client.$1.err" || return 0
		kill -0 "${client[$1]}" 2> /dev/null || die "client $1: $(cat "$out/client.$1.err")"
		sleep 0.2
	done
	die "client $1 does not get its connections"
}
clients_alive() {
	local n
	for n in "${!client[@]}"; do kill -0 "${client[$n]}" 2> /dev/null || die "client $n ended: $(cat "$out/client.$n.err" "$out/client.$n.json")"; done
}
# Nobody waits for an answer any more.
clients_served() {
	local n i
	for n in "${!client[@]}"; do
		for i in $(seq 90); do
			kill -USR1 "${client[$n]}" || die "client $n ended: $(cat "$out/client.$n.err" "$out/client.$n.json")"
			sleep 1
			[ "$(tail -n 1 "$out/client.$n.err")" != "0 late" ] || break
			[ "$i" != 90 ] || die "client $n: $(tail -n 1 "$out/client.$n.err")"
		done
	done
}
clients_stop() {
	local n
	for n in "${!client[@]}"; do kill -TERM "${client[$n]}"; done
	for n in "${!client[@]}"; do
		wait "${client[$n]}" || die "client $n: $(cat "$out/client.$n.json") $(tail -n 5 "$out/client.$n.err")"
		unset "client[$n]"
		echo "$n: $(cat "$out/client.$n.json")"
	done
}

# What must be the same in each kernel; indexes, counters, lifetimes and what neighbours do are left out.
# shellcheck disable=SC2016
network() {
	vm sh -c 'exec 2>&1
		for t in vlan bond bridge dummy; do ip -d link show type $t | grep -vE "^ +(RX|TX)" | sed -E "s/^[0-9]+: //; s/ (hello|tcn|topology_change|gc|hold|message_age|forward_delay)_timer +[0-9.]+//g;
			s/qlen [0-9]+//; s/netnsid [0-9]+//; s/ fdb_n_learned [0-9]+//; s/ (nhgid|numtxqueues|numrxqueues|gso_|gro_|tso_|allmulti|minmtu|maxmtu|mst_enabled|mdb_offload|fdb_local_vlan_0|promiscuity)[a-z_0-9]* [0-9]+//g" | grep -vE "use_carrier|^ +bond mode"; done
		for s in mode miimon primary active_slave slaves; do echo "bond0 $s: $(cat /sys/class/net/bond0/bonding/$s)"; done
		ip -o addr | grep -v "^[0-9]*: kho-" | sed -E "s/^[0-9]+: //; s/valid_lft.*//" | sort
		for f in -4 -6; do ip $f rule; ip $f route show table all | sed -E "s/expires [0-9]+sec//; s/ (pref|proto kernel).*//" | sort; done
		for l in eth0 bond0 eth0.5; do tc qdisc show dev $l root | sed -E "s/refcnt [0-9]+ //; s/ offload_horizon [0-9a-z]+//"; done
		bridge vlan; bridge fdb show br br0 | grep static; ip neigh show nud permanent
		sysctl net.ipv4.ip_forward net.ipv4.conf.eth0.rp_filter net.netfilter.nf_conntrack_max net.netfilter.nf_conntrack_tcp_timeout_established
		nft -s list ruleset' | tr -d '\r'
}

lab down > /dev/null 2>&1 || true
# QEMU makes the taps, in the lab's namespace
lab up --cpus 4 --mem 4096 -- \
	-netdev tap,id=n1,ifname=tap1,script=no,downscript=no -device virtio-net-pci,netdev=n1,addr=0x10,mac=52:54:00:77:01:01,disable-legacy=on,romfile= \
	-netdev tap,id=n2,ifname=tap2,script=no,downscript=no -device virtio-net-pci,netdev=n2,addr=0x11,mac=52:54:00:77:01:02,disable-legacy=on,romfile=
address=$(lab status --address)
gateway=${address%.2}.1
netns sh -ec 'ip addr add fd77::1/64 dev tap0 nodad; ip link add sw type bridge; ip link set tap1 master sw; ip link set tap2 master sw
	ip addr add 10.79.0.1/24 dev sw; for l in sw tap1 tap2; do ip link set $l up; done'
ip netns exec "khoctl-lab-$LAB_NAME" "$many" serve 9001 & server=$!

cat > "$out/rules.nft" << 'E'
table inet filter {
	set trusted { type ipv4_addr; flags interval; elements = { 10.77.0.0/16, 10.79.0.1-10.79.0.9 }; }
	set seen { type ipv4_addr; size 1000; flags dynamic,timeout; timeout 1h; }
	chain input {
		type filter hook input priority filter; policy drop;
		ct state vmap { established : accept, related : accept, invalid : drop }
		iif "lo" accept
		meta l4proto { 1, 58 } accept
		update @seen { ip saddr counter }
		ip saddr @trusted tcp dport { 6379, 7000 } ct state new counter accept
		ip6 saddr fd77::/64 tcp dport 7000 accept
		ip saddr @trusted udp dport 7000 jump { counter accept; }
		ip6 saddr fd77::/64 udp dport 7000 accept
		log prefix "refused: " limit rate 1/minute
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state established,related accept
		ct state new tcp flags & (fin|syn|rst|ack) == syn ct mark set 77 accept
		ct state new udp dport 9001 accept
		tcp flags syn tcp option maxseg size set rt mtu
	}
}
table ip nat {
	chain pre { type nat hook prerouting priority dstnat; iifname "eth0" meta l4proto { 6, 17 } th dport 9000 dnat to 10.79.0.1:9001; }
	chain post { type nat hook postrouting priority srcnat; oifname "bond0" ip daddr 10.79.0.0/24 masquerade; }
}
table netdev early { chain eth0 { type filter hook ingress device "eth0" priority -500; ip saddr 203.0.113.0/24 drop; }; }
E
lab put "$out/rules.nft" /etc/rules.nft
# shellcheck disable=SC2016
vm sh -ec 'g=$0
	modprobe bonding max_bonds=0; modprobe dummy numdummies=0; modprobe 8021q; modprobe bridge
	i=1; for m in 52:54:00:77:01:01 52:54:00:77:01:02; do n=$(grep -l $m /sys/class/net/*/address | cut -d/ -f5); ip link set $n down; [ $n = eth$i ]; i=$((i + 1)); done
	ip addr add fd77::2/64 dev eth0 nodad; sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.eth0.rp_filter=2
	ip link add bond0 type bond mode active-backup miimon 100 primary_reselect failure
	ip link set eth1 master bond0; ip link set eth2 master bond0; ip link set bond0 type bond primary eth2; ip link set bond0 mtu 1480 up
	ip addr add 10.79.0.2/24 dev bond0
	ip link add link eth0 name eth0.5 type vlan id 5 egress-qos-map 0:3; ip link set eth0.5 up; ip addr add 10.78.0.2/24 dev eth0.5; ip addr add fd78::2/64 dev eth0.5 nodad
	ip link add link bond0 name bond0.9 type vlan id 9; ip link set bond0.9 up; ip addr add 10.80.0.2/24 dev bond0.9
	ip link add br0 type bridge vlan_filtering 1 ageing_time 12300; ip link add dummy7 type dummy; ip link set dummy7 master br0; ip link set dummy7 up; ip link set br0 up
	ip addr add 10.81.0.1/24 dev br0; ip addr add fd81::1/64 dev br0 nodad
	bridge vlan add dev dummy7 vid 7 pvid untagged; bridge vlan del dev dummy7 vid 1; bridge vlan add dev br0 vid 7 self; bridge vlan add dev dummy7 vid 20-22
	bridge link set dev dummy7 isolated on; bridge fdb add 02:00:00:00:00:77 dev dummy7 master static vlan 7
	ip link add down9 type dummy; ip addr add 10.99.0.1/24 dev down9
	ip rule add from 10.79.0.2 table 79 priority 100; ip rule add fwmark 5 lookup 80 priority 101; ip -6 rule add from fd78::/64 lookup 78 priority 102
	ip route add default via 10.79.0.1 table 79; ip route add 10.90.0.0/16 nexthop via $g weight 1 nexthop via 10.79.0.1 weight 2; ip route add blackhole 10.91.0.0/16
	ip -6 route add default via fd78::1 dev eth0.5 table 78; ip -6 route add fd90::/64 via fd77::1; ip route add 10.92.0.0/16 dev eth0.5 src 10.78.0.2
	ip neigh add 10.78.0.1 lladdr 02:00:00:00:00:01 dev eth0.5
	tc qdisc replace dev eth0 root handle 77: fq flow_limit 77; tc qdisc add dev bond0 root handle 78: cake bandwidth 900mbit
	tc qdisc add dev eth0.5 root handle 79: tbf rate 500mbit burst 256k latency 50ms
	nft -f /etc/rules.nft; sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=4321' "$gateway"
lab put "$many" /usr/sbin/many
vm sh -c 'setsid many serve 7000 > /data/many.log 2>&1 < /dev/null & echo $! > /run/many.pid'
printf '%s\n' 'pidfile = /run/many.pid' 'health-tcp = 127.0.0.1:7000' > "$out/many.conf"
lab put "$out/many.conf" /etc/khoctl/workloads.d/many.conf
sleep 1
hold ipv4 "$address" 7000 "$MANY"
hold ipv6 fd77::2 7000 20
hold bond 10.79.0.2 7000 20
hold nat "$address" 9000 20
network > "$out/network.0"
ok "the network is set up, $MANY connections and 60 others"

vm khoctl check --to "$(other_image)" > "$out/check.txt" || { cat "$out/check.txt"; die "check"; }
for w in 'eth0.5 .*vlan: moves' 'bond0 .*bond: moves' 'br0 .*bridge: moves' 'firewall .*nftables: [0-9]* table' 'connection tracking .*entries move'; do
	grep -qE "$w" "$out/check.txt" || { cat "$out/check.txt"; die "check does not say '$w'"; }
done
ok "check names them"

rc=0
vm env KHOCTL_FAULT=restore:fail khoctl upgrade --to "$(other_image)" > "$out/undone.txt" 2>&1 || rc=$?
[ "$rc" = 3 ] || { tail -30 "$out/undone.txt"; die "an upgrade that fails in restore: exit code $rc, wanted 3"; }
sleep 2
clients_alive; clients_served
network > "$out/network.undone"
diff -u "$out/network.0" "$out/network.undone" || die "the network is not as it was"
ok "an upgrade that fails leaves the network as it was"

for n in 1 2; do
	from=$(vm_release) image=$(other_image)
	say "upgrade $n: $from -> ${image##*/vmlinuz-}"
	vm khoctl upgrade --to "$image" || die "upgrade $n"
	wait_alone "${image##*/vmlinuz-}"
	clients_alive; clients_served
	vm khoctl report
	network > "$out/network.$n"
	diff -u "$out/network.0" "$out/network.$n" || die "the network is not what it was"
	# what the rule set keeps out, it keeps out
	! netns timeout 2 bash -c "exec 3<> /dev/tcp/$address/22222" 2> /dev/null || die "the firewall is open"
	ok "$from -> ${image##*/vmlinuz-}: the network is the same"
done
sleep 2
clients_stop
ok "no connection was lost"
echo "$passed passed, 0 failed"
