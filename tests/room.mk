# make demo | test | bench: the whole thing, from a fresh machine. (Parts: make check, make lab.)
.PHONY: demo test bench test-vm test-undo test-faults test-host soak
demo:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@$(MAKE) --no-print-directory modules vm-cache
	tests/vm/demo$(if $(DEMO),_$(DEMO)).sh

test:
	@$(MAKE) --no-print-directory deps
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@$(MAKE) --no-print-directory modules vm-cache
	@tests/run-all

test-vm: all modules vm-cache
	tests/run-all vm

# every way to fail, not only those of make test
test-undo: all modules vm-cache
	UNDO=all tests/vm/t-undo.sh

# every fault of the list that is made from the tables; FAULTS=PATTERN: those lines of it
test-faults: all modules vm-cache
	FAULTS='$(or $(FAULTS),all)' tests/vm/t-faults.sh

# all of a host: every way to fail, every kind of disk, network, unit and platform thing
test-host: all modules vm-cache
	$(Q)$(MAKE) --no-print-directory check-units UNIT='canary_test canary_replay'
	HOST=all VDSO=all UNITS=all TAKEOVER=all CONTAINERS=all PODS=all tests/run-all host containers pods vdso net disks root platform units dhcp initramfs takeover takeover-host converge compare canary

# SOAK (50) upgrades back and forth in one VM, what could pile up compared
soak: all modules vm-cache
	tests/vm/soak.sh

bench: all modules vm-cache
	tests/bench/bench.sh
	tests/bench/engines.sh
	tests/bench/recorder.sh
	tests/bench/recorder_here.sh
