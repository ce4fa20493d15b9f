# shellcheck shell=bash
# LVM, LUKS, xfs and btrfs for a lab's userland, which has none of them: unpacked into a directory for $LAB_OVERLAY. Sourced.
DISK_PKGS=(lvm2 libdevmapper-event1.02.1 libaio1t64 libedit2 libbsd0 libmd0 cryptsetup-bin libcryptsetup12 libargon2-1 libpopt0
	xfsprogs libinih1 liburcu8t64 btrfs-progs liblzo2-2)

# disk_tools DIR
disk_tools() {
	local d
	rm -rf "$1"; mkdir -p "$1"
	# shellcheck disable=SC2154
	"$here/cache.sh" package "${DISK_PKGS[@]}" > "$1.list" || die "the packages for disks"
	tail -n ${#DISK_PKGS[@]} "$1.list" | while read -r d; do
		[ -d "$d" ] || die "package $d"
		cp -a "$d/." "$1/"
	done
	rm -rf "${1:?}"/usr/{share,include,lib/systemd}
}
# To be sourced by what runs them in the VM: there is no udev to be waited for.
# shellcheck disable=SC2034
DISK_ENV='export DM_DISABLE_UDEV=1 LVM_SUPPRESS_FD_WARNINGS=1'
