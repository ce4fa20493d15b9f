# make demo | test | bench: the whole thing, from a fresh machine. (Parts: make check, make lab.)
.PHONY: demo test bench test-vm
demo:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory all modules vm-cache
	tests/vm/demo.sh

test:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory all modules vm-cache
	@tests/run-all

test-vm: all modules vm-cache
	tests/run-all vm

bench: all modules vm-cache
	tests/bench/bench.sh
