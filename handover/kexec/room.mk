LIB_SRCS += $(addprefix handover/kexec/,engine.c probe.c cmdline.c prepare.c tape.c env.c files.c carry.c handed.c load.c luo.c luo_use.c disk.c place.c ingress.c)
PROTOS += handover/kexec/handed.proto
UNIT += kexec_test kexec_cmdline kexec_disk kexec_initrd kexec_luo
