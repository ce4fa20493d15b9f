LIB_SRCS += $(addprefix state-serializers/,table.c clock.c host.c netdev.c block.c files.c)
