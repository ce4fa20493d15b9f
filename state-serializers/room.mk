SER := state-serializers
LIB_SRCS += $(addprefix $(SER)/,table.c common.c clock.c host.c netdev.c netdev-probe.c netdev-out.c netdev-in.c netdev-nl.c netdev-read.c netdev-apply.c netdev-hold.c \
	block.c files.c)
PROTOS += $(SER)/netdev.proto
PKGS += libmnl libkmod libprotobuf-c
