LIB_SRCS += handover/dev.c handover/beside/image.c handover/beside/acpi.c handover/beside/machine.c \
	handover/beside/machine_pci.c handover/beside/choice.c handover/beside/boot.c handover/beside/cmdline.c \
	handover/beside/files.c handover/beside/pack.c
PKGS += libarchive libzstd libkmod libelf
