# The VM lab: its programs, and the targets that need a VM. The programs use nothing of khoctl's library.
LAB := $(B)/tests/vm
# these run in the VM, where nothing else may be there
LAB_STATIC := vmagent init holder hang_init boot_floor clockline many writer churn clocks moody sleepers unitd
LAB_PROGS := $(addprefix $(LAB)/,labd labc client $(LAB_STATIC))
UNIT += lab_frame
all: $(LAB_PROGS)
$(LAB)/labd: $(LAB)/labd.o $(LAB)/frame.o
$(LAB)/labc: $(LAB)/labc.o $(LAB)/frame.o
$(LAB)/client: $(addprefix $(LAB)/,client.o client_redis.o client_http.o client_postgres.o)
$(LAB)/client: LAB_LIBS := $(shell pkg-config --libs libpq)
$(LAB)/client_postgres.o: PKG_CFLAGS += $(shell pkg-config --cflags libpq)
$(LAB)/labd $(LAB)/labc $(LAB)/client:
	$(call say,LD,$@)mkdir -p $(@D) && $(CC) $(SAN) -o $@ $^ $(LAB_LIBS)
$(LAB)/vmagent: tests/vm/frame.c tests/vm/frame.h
$(LAB_STATIC:%=$(LAB)/%): $(LAB)/%: tests/vm/%.c
	$(call say,LD,$@)mkdir -p $(@D) && $(CC) $(WARN) -O2 -D_GNU_SOURCE -I. -static -o $@ $(filter %.c,$^)

.PHONY: deps vm-cache modules lab
deps:
	$(Q)tests/vm/deps.sh
vm-cache: deps
	$(Q)tests/vm/cache.sh
modules: vm-cache
	$(Q)tests/vm/modules.sh
lab: modules
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/vm/lab up
	$(Q)tests/vm/lab help

# a person at a terminal, in the VM
all: $(LAB)/pty
$(LAB)/pty: tests/vm/pty.c
	$(call say,LD,$@)mkdir -p $(@D) && $(CC) $(WARN) -O2 -D_GNU_SOURCE -static -o $@ $<

# the faults that t-faults.sh makes strike, out of khoctl's tables
PROGS += fault-list
fault-list_SRCS := tests/tools/fault_list.c
