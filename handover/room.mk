LIB_SRCS += handover/dev.c
