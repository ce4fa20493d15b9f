SER := state-serializers
LIB_SRCS += $(addprefix $(SER)/,table.c common.c clock.c host.c host-sysctl.c \
	units.c units-read.c units-probe.c units-write.c units-journal.c \
	units-time.c units-state.c units-timer.c units-kept.c units-text.c units-hold.c units-cred.c \
	files.c files-collect.c files-workload.c files-copy.c files-runtime.c files-apply.c \
	netdev.c netdev-probe.c netdev-out.c netdev-in.c netdev-filter.c netdev-files.c netdev-ifupdown.c netdev-qdisc.c netdev-nl.c netdev-read.c netdev-apply.c netdev-hold.c \
	netdev-link.c netdev-link-read.c netdev-index.c netfilter-read.c netfilter-load.c netfilter-rule.c netfilter-ct.c \
	block.c block-find.c block-layer.c block-table.c block-swap.c block-key.c block-luks.c block-map.c block-out.c block-quiet.c block-in.c block-node.c block-root.c block-dm.c block-mount.c block-merge.c)
PROTOS += $(addprefix $(SER)/,netdev.proto block.proto clock.proto host.proto files.proto units.proto)
PKGS += libmnl libkmod mount libprotobuf-c
PROGS += serializer-check
serializer-check_SRCS := $(addprefix tests/vm/serializer_check,.c _hold.c _net.c _block.c)
UNIT += serializers files probes ifupdown qdisc units units_text netfilter netdev block
