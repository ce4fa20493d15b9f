# Gates: what must be known to be good about a kernel. Programs for the kernel (NAME.bpf.c) are built by clang into
# skeletons (bpf/NAME.skel.h in the generated files), which are linked in; nothing of them is installed.
LIB_SRCS += $(addprefix bpf/,hist.c gate.c trouble.c program.c wakeup.c exercise.c ready.c dark.c recording.c recorder.c record_proc.c record_programs.c regress.c regress_draw.c \
	child.c pinned.c load.c load_mixes.c load_crypto.c load_command.c spare.c \
	replay_listen.c replay_stream.c replay_capture.c replay_pack.c replay_record.c replay_send.c replay_run.c)
PKGS += libbpf json-c
LIBS += -lm
UNIT += gates gates_live dark regress recorder_live load replay replay_live
BPF_PROGS := $(addprefix bpf/,wakeup dark tasks block tcp) tests/unit/refused
BPF_SKELS := $(BPF_PROGS:%=$(B)/gen/%.skel.h)
# plain clang, whatever CC is: the target is the kernel's machine; types come from this machine's headers
BPF_CLANG ?= clang
BPF_CFLAGS = -g -O2 -Wall -Werror -target bpf -D__TARGET_ARCH_x86 -I. -I/usr/include/$(shell gcc -print-multiarch)
$(BPF_PROGS:%=$(B)/%.bpf.o): $(B)/%.bpf.o: %.bpf.c
	$(call say,BPF,$<)mkdir -p $(@D) && $(BPF_CLANG) $(BPF_CFLAGS) -MMD -MP -c $< -o $@
$(BPF_SKELS): $(B)/gen/%.skel.h: $(B)/%.bpf.o
	$(call say,SKEL,$@)mkdir -p $(@D) && PATH=$$PATH:/usr/sbin bpftool gen skeleton $< name $(*F)_bpf > $@.new && mv $@.new $@
