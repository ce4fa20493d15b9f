# make check: unit tests, command line, lint; no root, no VM. make lint: the checkers alone.
# make check-units: without the checkers; make check-sanitized: that, with the address and undefined sanitizers.
.PHONY: check check-units check-sanitized lint
CHECK_PROGS = $(UNIT:%=$(B)/tests/unit/%)
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=undefined
# the programs are no prerequisites: rooms that are read later add to UNIT
check: all
	$(Q)$(MAKE) --no-print-directory $(CHECK_PROGS)
	$(Q)$(MAKE) --no-print-directory lint check-tables
	$(Q)$(MAKE) --no-print-directory check-units
check-units: all
	$(Q)$(MAKE) --no-print-directory $(CHECK_PROGS)
	$(Q)B=$(B) tests/run-unit $(CHECK_PROGS) $(sort $(wildcard tests/cli/*.t))
check-sanitized:
	$(Q)$(MAKE) --no-print-directory B=$(B)/san SAN='$(SANITIZERS)' check-units
lint: $(GEN_C)
	$(Q)B=$(B) PKG_CFLAGS="$(PKG_CFLAGS)" tests/lint/run
