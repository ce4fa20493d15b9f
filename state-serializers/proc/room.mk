LIB_SRCS += state-serializers/proc.c $(addprefix state-serializers/proc/,criu.c img.c img_ns.c img_mounts.c pagemap.c role.c tree.c precopy.c dump.c dirty.c changed.c quiet.c vdso.c blob.c \
	stream.c undo.c thaw.c restore.c tidy.c pinned.c discard.c lazy.c lazy_start.c blocks.c blocks_fork.c health.c modules.c selftest.c selftest_child.c probe.c probe_task.c probe_cpus.c fd.c sock.c mcast.c accept.c \
	place.c place_out.c place_in.c worker.c cgroup.c ns_read.c ns_nodes.c ns_idmap.c ns_build.c ns_fs.c ns_outside.c \
	outside.c outside_in.c relay.c container_out.c container_in.c container_status.c container_net.c container_net_out.c pidns.c sysv.c apparmor.c cgroup_filter.c copy.c monitor.c monitor_trace.c shim_out.c shim_in.c shim_exec.c ttrpc.c phase.c)
PROTOS += state-serializers/proc.proto state-serializers/proc/criu_rpc.proto state-serializers/proc/criu_img.proto state-serializers/proc/containerd.proto
PKGS += libprotobuf-c libkmod libmnl libbpf
PROGS += proc-bench
proc-bench_SRCS := tests/bench/proc_bench.c
UNIT += copy proc_test lazy relay place container shim pod health container_net thaw dirty quiet vdso sysv mcast blocks
