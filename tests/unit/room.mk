# make check: unit tests, command line, lint; no root, no VM. make lint: the checkers alone.
.PHONY: check lint
CHECK_PROGS = $(UNIT:%=$(B)/tests/unit/%)
# the programs are no prerequisites: rooms that are read later add to UNIT
check: all
	$(Q)$(MAKE) --no-print-directory $(CHECK_PROGS)
	$(Q)$(MAKE) --no-print-directory lint check-tables
	$(Q)B=$(B) tests/run-unit $(CHECK_PROGS) $(sort $(wildcard tests/cli/*.t))
lint: $(GEN_C)
	$(Q)B=$(B) PKG_CFLAGS="$(PKG_CFLAGS)" tests/lint/run
