# khoctl: the one entry. V=1 shows the commands. Rooms bring their own room.mk.
SHELL := /bin/bash
B := build
CC ?= gcc
CFLAGS ?= -O2 -g
WARN := -std=gnu17 -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wundef -Wpointer-arith -Wunused-result -Wno-format-truncation -Werror
ALL_CFLAGS = $(WARN) $(CFLAGS) -D_GNU_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fno-strict-aliasing -I. -I$(B)/gen -pthread $(SAN)
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' '$(1)' '$(2)';)

.PHONY: all
all:

# A room adds to these: LIB_SRCS (into libkhoctl.a), PROTOS (NAME.proto -> build/gen/NAME.pb-c.[ch]), PKGS (pkg-config names),
# LIBS (libraries without pkg-config), PROGS (name: build/NAME from NAME_SRCS and the library), UNIT (tests/unit/NAME.c, cmocka), and
# may add rules and targets.
LIB_SRCS :=
PROTOS :=
PKGS :=
LIBS :=
PROGS :=
UNIT :=
include $(wildcard */room.mk */*/room.mk)

PKGS := $(sort $(PKGS))
PKG_CFLAGS := $(if $(PKGS),$(shell pkg-config --cflags $(PKGS) 2>/dev/null))
PKG_LIBS := $(if $(PKGS),$(shell pkg-config --libs $(PKGS) 2>/dev/null)) $(LIBS)

GEN_C := $(PROTOS:%.proto=$(B)/gen/%.pb-c.c)
LIB_OBJS := $(LIB_SRCS:%.c=$(B)/%.o) $(GEN_C:%.c=%.o)
$(LIB_OBJS) $(foreach p,$(PROGS),$($(p)_SRCS:%.c=$(B)/obj/%.o)) $(UNIT:%=$(B)/tests/unit/%.o) $(FUZZ:%=$(B)/tests/fuzz/%.o): | $(GEN_C) $(BPF_SKELS)

$(B)/gen/%.pb-c.c: %.proto
	$(call say,PROTO,$<)mkdir -p $(B)/gen && protoc-c --proto_path=. --c_out=$(B)/gen $<
$(B)/gen/%.o: $(B)/gen/%.c
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) -O2 -g -D_GNU_SOURCE -I$(B)/gen $(PKG_CFLAGS) -c $< -o $@
$(B)/%.o: %.c
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) $(PKG_CFLAGS) -MMD -MP -c $< -o $@
# objects of programs lie apart: build/khoctl is a program, khoctl/ a room
$(B)/obj/%.o: %.c
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(ALL_CFLAGS) $(PKG_CFLAGS) -MMD -MP -c $< -o $@
$(B)/libkhoctl.a: $(LIB_OBJS)
	$(call say,AR,$@)rm -f $@ && ar rcs $@ $^

define prog
all: $(B)/$(1)
$(B)/$(1): $($(1)_SRCS:%.c=$(B)/obj/%.o) $(B)/libkhoctl.a
	$$(call say,LD,$$@)mkdir -p $$(@D) && $(CC) $(SAN) -pthread -o $$@ $$($(1)_SRCS:%.c=$(B)/obj/%.o) $(B)/libkhoctl.a $$($(1)_LIBS) $(PKG_LIBS)
endef
$(foreach p,$(PROGS),$(eval $(call prog,$(p))))

$(B)/tests/unit/%: $(B)/tests/unit/%.o $(B)/libkhoctl.a
	$(call say,LD,$@)mkdir -p $(@D) && $(CC) $(SAN) -pthread -o $@ $< $(B)/libkhoctl.a $(PKG_LIBS) -lcmocka
.SECONDARY:
-include $(shell find $(B) -type f -name "*.d" 2>/dev/null)
