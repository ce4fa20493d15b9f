LIB_SRCS += handover/dev.c handover/dev_load.c handover/engines.c handover/instances.c $(addprefix handover/beside/, \
	image.c acpi.c machine.c machine_pci.c choice.c boot.c cmdline.c files.c pack.c devices.c hardware.c modules.c elf.c initramfs.c \
	signature.c engine.c probe.c held.c reserve.c spawn.c peer.c gates.c ops.c record.c \
	firmware.c cpio.c initrd.c initrd_join.c initrd_choice.c initramfs_write.c keeplog.c words.c faults.c)
PKGS += libarchive libzstd libkmod libelf zlib
UNIT += beside_boot beside_choice beside_initramfs initrd_test
# drives an engine alone, for VM tests of it
PROGS += engine-drive
engine-drive_SRCS := tests/tools/engine-drive.c
