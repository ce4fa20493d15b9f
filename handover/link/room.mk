LIB_SRCS += $(addprefix handover/link/,wire.c wire_send.c fault.c peer.c peer_call.c peer_receive.c peer_measure.c peer_file.c setup.c)
PROTOS += handover/link/link.proto
PKGS += libprotobuf-c
UNIT += link_wire link_agent link_faults link_deputy link_alone link_peer link_files
PROGS += tests/bench/link_bench
tests/bench/link_bench_SRCS := tests/bench/link_bench.c
