# What a Debian host gets beside the program: services, hooks of kernel packages, the boot loader's default.
UNITS := khoctl.service khoctl-resume.service khoctl-settled.service khoctl-check.service khoctl-check.timer khoctl-upgrade@.service
UNIT_DIR = $(DESTDIR)$(PREFIX)/lib/systemd/system
install: install-integration
.PHONY: install-integration
install-integration:
	install -d -m 0755 $(UNIT_DIR)
	install -m 0644 $(addprefix integration/,$(UNITS)) $(UNIT_DIR)/
	install -D -m 0755 integration/boot-default $(DESTDIR)$(PREFIX)/lib/khoctl/boot-default
	install -D -m 0644 integration/khoctl-device.cfg $(DESTDIR)/etc/default/grub.d/khoctl-device.cfg
	install -D -m 0755 integration/on-install $(DESTDIR)$(PREFIX)/lib/khoctl/on-install
	install -D -m 0755 integration/zz-khoctl $(DESTDIR)/etc/kernel/postinst.d/zz-khoctl
	install -D -m 0755 integration/zz-khoctl $(DESTDIR)$(PREFIX)/lib/kernel/install.d/95-khoctl.install
