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
# The address sanitizer that a Debian 12 GCC has leaves its allocator's locks to a forked child as they are: a process that was forked while
# another thread had one, and goes on in C, waits for it for ever. Who forks on purpose is tested without.
FORKING := link_deputy
check-sanitized:
	$(Q)$(MAKE) --no-print-directory B=$(B)/san SAN='$(SANITIZERS)' check-units UNIT='$(filter-out $(FORKING),$(UNIT))'
lint: $(GEN_C)
	$(Q)B=$(B) PKG_CFLAGS="$(PKG_CFLAGS)" tests/lint/run
