# The kernel module for one release: make module KREL=6.12... [KROOT=chroot with headers and compiler]
KREL ?= $(shell uname -r)
.PHONY: module
module:
	handover/module/build.sh "$(KREL)" "$(B)/module/$(KREL)" $(KROOT)
