# make demo | test | bench: the whole thing, from a fresh machine. (Parts: make check, make lab.)
.PHONY: demo test bench test-vm test-undo test-host
demo:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory all modules vm-cache
	tests/vm/demo$(if $(DEMO),_$(DEMO)).sh

test:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory all modules vm-cache
	@tests/run-all

test-vm: all modules vm-cache
	tests/run-all vm

# every way to fail, not only those of make test
test-undo: all modules vm-cache
	UNDO=all tests/vm/t-undo.sh

test-host: all modules vm-cache
	HOST=all tests/vm/t-host.sh
	HOST=all tests/vm/t-root.sh
	tests/vm/t-initramfs.sh
	HOST=all tests/vm/t-platform.sh
	tests/vm/t-dhcp.sh
	UNITS=all tests/vm/t-units.sh

bench: all modules vm-cache
	tests/bench/bench.sh
