LIB_SRCS += $(addprefix handover/incoming/,agent.c agent_pool.c agent_setup.c agent_ops.c agent_gates.c agent_env.c \
	agent_file.c agent_retire.c agent_alone.c agent_deputy.c agent_journal.c agent_handed.c agent_disk.c agent_back.c machine_whole.c drivers.c agent_machine.c agent_fault.c agent_log.c host_list.c)
PKGS += libkmod
PROGS += khoctl-incoming
khoctl-incoming_SRCS := $(addprefix handover/incoming/,init.c init_system.c init_module.c init_host.c init_measure.c init_stop.c init_enter.c)
