# The face; and gen-tables, which prints what its tables say.
PKGS += smartcols
PROGS += khoctl gen-tables
KHOCTL_VERBS := $(addprefix khoctl/,tables.c usage.c common.c faults.c text.c progress.c worker.c past.c recover.c guard.c watch.c text_canary.c junit.c blob.c verb_check.c verb_gates.c verb_canary.c verb_record.c verb_compare.c verb_upgrade.c verb_status.c \
	verb_list.c verb_console.c verb_rollback.c verb_resume.c verb_image.c verb_report.c verb_history.c verb_log.c verb_unlock.c verb_watch.c verb_version.c after_boot.c)
khoctl_SRCS := khoctl/main.c $(KHOCTL_VERBS)
gen-tables_SRCS := khoctl/gen.c $(KHOCTL_VERBS)

# man page, completion, docs/cli.md and a part of the guide are committed; `make tables` writes them anew, `make check-tables` compares
TABLES := docs/man/khoctl.8.scd:man khoctl/completion.bash:completion docs/cli.md:docs docs/upgrade-guide.md:guide
.PHONY: tables check-tables
tables: $(B)/gen-tables
	$(Q)for t in $(TABLES); do $(B)/gen-tables $${t#*:} > $(B)/table.new && cp $(B)/table.new $${t%:*} || exit 1; done
check-tables: $(B)/gen-tables
	$(Q)for t in $(TABLES); do \
		$(B)/gen-tables $${t#*:} | diff -u $${t%:*} - || { echo "$${t%:*} is stale: make tables"; exit 1; }; done
	$(Q)scdoc < docs/man/khoctl.8.scd > $(B)/khoctl.8
all: $(B)/khoctl.8
$(B)/khoctl.8: docs/man/khoctl.8.scd
	$(call say,MAN,$@)mkdir -p $(@D) && scdoc < $< > $@

# make install DESTDIR=...: programs, man page, completion, configuration directory, module sources for DKMS
PREFIX ?= /usr
DKMS_DIR = $(DESTDIR)$(PREFIX)/src/khoctl-0.1
.PHONY: install
install: all
	install -D -m 0755 $(B)/khoctl $(DESTDIR)$(PREFIX)/sbin/khoctl
	install -D -m 0755 $(B)/khoctl-incoming $(DESTDIR)$(PREFIX)/lib/khoctl/khoctl-incoming
	install -D -m 0644 $(B)/khoctl.8 $(DESTDIR)$(PREFIX)/share/man/man8/khoctl.8
	install -D -m 0644 khoctl/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/khoctl
	install -d -m 0700 $(DESTDIR)/etc/khoctl $(DESTDIR)/etc/khoctl/workloads.d $(DESTDIR)/var/lib/khoctl
	install -d -m 0755 $(DKMS_DIR)/handover/module $(DKMS_DIR)/handover/uapi
	cp -R handover/module/. $(DKMS_DIR)/handover/module/
	cp -R handover/uapi/. $(DKMS_DIR)/handover/uapi/
	if [ -f handover/module/dkms.conf ]; then install -m 0644 handover/module/dkms.conf $(DKMS_DIR)/dkms.conf; fi
