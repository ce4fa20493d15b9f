LIB_SRCS += lib/err.c
