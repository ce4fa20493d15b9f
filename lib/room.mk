LIB_SRCS += lib/err.c lib/report.c lib/clock.c lib/io.c lib/conf.c lib/workload.c lib/workload_find.c lib/container.c lib/containerd.c lib/pod.c lib/pid.c lib/fault.c lib/fault_criu.c lib/criu.c \
	lib/json.c lib/format.c lib/cpuinfo.c lib/bzimage.c lib/kconfig.c lib/vmlinux.c lib/kho_abi.c lib/kexec_metadata.c lib/record.c lib/spawn.c lib/netmods.c lib/modload.c lib/fdpass.c lib/memfd.c lib/affinity.c lib/fs_freeze.c
PKGS += json-c libarchive libkmod zlib
UNIT += lib_test affinity workload fault_test criu_features bzimage vmlinux spawn
