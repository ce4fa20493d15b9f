# make fuzz: every target for FUZZ_SECONDS, from its corpus on; make fuzz-smoke: the corpus and a few seconds.
# Built by clang with libFuzzer and the sanitizers, in a build directory of its own.
.PHONY: fuzz fuzz-smoke fuzz-progs
FUZZ_SECONDS ?= 60
FUZZ_B := $(B)/fuzz
FUZZ := $(sort $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c)))
FUZZ_MAKE = $(MAKE) --no-print-directory B=$(FUZZ_B) CC=clang CFLAGS='-O1 -g' SAN='-fsanitize=fuzzer-no-link $(SANITIZERS)' \
	WARN='-std=gnu17 -Wall -Wno-unused-function -Werror=implicit-function-declaration'
fuzz:
	$(Q)$(FUZZ_MAKE) fuzz-progs
	$(Q)tests/fuzz/run $(FUZZ_B)/tests/fuzz $(FUZZ_SECONDS) $(FUZZ)
fuzz-smoke:
	$(Q)$(FUZZ_MAKE) fuzz-progs
	$(Q)tests/fuzz/run $(FUZZ_B)/tests/fuzz 3 $(FUZZ)
# in the build made by FUZZ_MAKE
fuzz-progs: $(FUZZ:%=$(B)/tests/fuzz/%)
$(B)/tests/fuzz/%: $(B)/tests/fuzz/%.o $(B)/libkhoctl.a
	$(call say,LD,$@)$(CC) -fsanitize=fuzzer $(SANITIZERS) -pthread -o $@ $< $(B)/libkhoctl.a $(PKG_LIBS)
