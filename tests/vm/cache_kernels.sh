# shellcheck shell=bash
# Kernels that nobody packages, built from Debian's sources (packages linux-source-X.Y of its backports). Sourced by cache.sh.
#   kbuild/       Debian 13 tree with what builds a kernel; the one that modules are built in has less
#   built/NAME/   release, vmlinuz, config, modules.tar, headers.tar; anew when package, configuration or recipe change
# One kernel is 10 to 15 minutes on two cores, and 5 GB while it is built.

KBUILD_PKGS=(flex bison lz4 libelf-dev zlib1g-dev libssl-dev libc6-dev cpio python3-minimal)
# NAME, which of the sources (1: the newest), what of kernels/ is its configuration
BUILT_KERNELS='
debug		1 small debug
kho		1 small kho host
kho-before	2 small kho host before
'

# source_package RANK: "linux-source-X.Y" of backports, from the newest
source_package() {
	local p
	apt apt-cache pkgnames linux-source- | grep -xE 'linux-source-[0-9.]+' | sort -rV | while read -r p; do
		# all of it is read: with -q a writer of several lines may die of SIGPIPE
		! apt apt-cache madison "$p" | grep -F " $BACKPORTS/" > /dev/null || echo "$p"
	done | sed -n "${1}p"
}

# in_kbuild COMMAND...: in the tree that builds kernels; /proc because objtool and the scripts read it
in_kbuild() {
	# shellcheck disable=SC2016
	unshare -m sh -c 'mount -t proc proc "$1/proc" && r=$1 && shift && exec nice chroot "$r" "$@"' sh "$cache/kbuild" "$@"
}

make_kbuild() {
	local files
	mapfile -t files < <(closure "$STABLE" "$@")
	fetch "${files[@]}"
	rm -rf --one-file-system kbuild kbuild.new; mkdir kbuild.new
	skeleton kbuild.new
	unpack kbuild.new "${files[@]}" -- --exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale
	finish_tree kbuild.new
	ln -sfn gcc-14 kbuild.new/usr/bin/gcc
	ln -sfn gcc-14 kbuild.new/usr/bin/cc
	ln -sfn bison.yacc kbuild.new/usr/bin/yacc
	mv kbuild.new kbuild
}

# config_took WANTED CONFIG: every line of WANTED is so in CONFIG (=n: it is not set)
config_took() {
	local l bad=
	while read -r l; do
		case $l in
		'#'*|'') ;;
		*=n) ! grep -q "^${l%=n}=" "$2" || bad="$bad $l" ;;
		*) grep -qxF "$l" "$2" || bad="$bad $l" ;;
		esac
	done < "$1"
	[ -z "$bad" ] || fail "the source of this kernel does not take over:$bad"
}

# unpack_source FILE CONFIG TREE NAME
unpack_source() {
	local t=$3
	fetch "$1"
	rm -rf "$t"; mkdir -p "$t"
	dpkg-deb --fsys-tarfile "apt/debs/$1" | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' | tar -xJ -C "$t" --strip-components=1
	{ cat "$2"; echo "CONFIG_LOCALVERSION=\"-khoctl-$4\""; } > kbuild/usr/src/wanted.config
	in_kbuild make -s -C /usr/src/linux KCONFIG_ALLCONFIG=/usr/src/wanted.config allnoconfig
	config_took kbuild/usr/src/wanted.config "$t/.config"
}

# build_source NAME SOURCE-FILE CONFIG SUM: built/NAME. One of the same SUM that was broken off goes on.
build_source() {
	local name=$1 t=kbuild/usr/src/linux out=built/$1.new rel
	if [ "$(cat kbuild/usr/src/begun 2> /dev/null)" != "$4" ]; then
		rm -f kbuild/usr/src/begun
		unpack_source "$2" "$3" "$t" "$name"
		printf '%s\n' "$4" > kbuild/usr/src/begun
	fi
	rm -rf kbuild/out "$out"; mkdir -p kbuild/out "$out"
	flock -u 9
	# shellcheck disable=SC2016
	in_kbuild sh -ec '
		cd /usr/src/linux
		export KBUILD_BUILD_TIMESTAMP=@1 KBUILD_BUILD_USER=khoctl KBUILD_BUILD_HOST=khoctl
		make -s -j"$(nproc)" bzImage modules
		make -s INSTALL_MOD_PATH=/out INSTALL_MOD_STRIP=1 modules_install
		make -s kernelrelease > /out/release
		make -s run-command KBUILD_RUN_COMMAND="\$(srctree)/scripts/package/install-extmod-build /out/headers"
		' > "built/$name.log" 2>&1 6>&- 9>&- || { tail -n 30 "built/$name.log" >&2; fail "kernel '$name' does not build: $cache/built/$name.log"; }
	flock 9
	rel=$(cat kbuild/out/release)
	rm -f "kbuild/out/lib/modules/$rel"/{build,source}
	cp "$t/arch/x86/boot/bzImage" "$out/vmlinuz"
	cp "$t/.config" "$out/config"
	tar -c -C kbuild/out/lib/modules -f "$out/modules.tar" "$rel"
	tar -c -C kbuild/out/headers -f "$out/headers.tar" .
	echo "$rel" > "$out/release"
	rm -rf kbuild/usr/src/begun "$t" kbuild/out "built/$name"
	mv "$out" "built/$name"
}

# make_built NAME: built/NAME into kernels/RELEASE, its headers into the tree where modules are built
make_built() {
	local from=built/$1 t=kernels/new.$$ rel
	rel=$(cat "$from/release")
	rm -rf kernels/new.*; mkdir -p "$t/usr/lib/modules" "$t/boot"; ln -s usr/lib "$t/lib"
	cp "$from/vmlinuz" "$t/boot/vmlinuz-$rel"
	cp "$from/config" "$t/boot/config-$rel"
	tar -x -C "$t/usr/lib/modules" -f "$from/modules.tar"
	mkdir -p "$t/usr/lib/modules/$rel"
	keep_kernel "$t" "$rel"
	rm -rf "build/usr/src/linux-headers-$rel" "build/usr/lib/modules/$rel"
	mkdir -p "build/usr/src/linux-headers-$rel" "build/usr/lib/modules/$rel"
	tar -x -C "build/usr/src/linux-headers-$rel" -f "$from/headers.tar"
	# relative, as Debian's: whole_kernel looks through it from outside of the tree
	ln -s "../../../src/linux-headers-$rel" "build/usr/lib/modules/$rel/build"
}

# have_built NAME: the kernel of that name in BUILT_KERNELS, built unless it is there; $kernel_release
have_built() {
	local rank parts pkg file sum config
	read -r rank parts < <(awk -v n="$1" '$1 == n { $1 = ""; print }' <<< "$BUILT_KERNELS") || fail "no kernel '$1' is built here"
	pkg=$(source_package "$rank")
	[ -n "$pkg" ] || fail "$BACKPORTS has no $rank linux-source packages of different versions"
	file=$(closure "$BACKPORTS" "$pkg/$BACKPORTS" | grep "^${pkg}_")
	part kbuild make_kbuild "${BUILD_PKGS[@]}" "${KBUILD_PKGS[@]}"
	mkdir -p built
	config=built/$1.config
	# shellcheck disable=SC2086
	(cd "$vmdir/kernels" && printf '%s.config\n' $parts | xargs cat) > "$config"
	sum=$({ declare -f unpack_source build_source; cat stamp/kbuild "$config"; echo "$file"; } | sha256sum)
	if [ "$(cat "stamp/built-$1" 2> /dev/null)" != "$sum" ] || [ ! -d "built/$1" ]; then
		say "kernel $1 of $pkg (10 to 15 minutes)"
		rm -f "stamp/built-$1" "stamp/kernel-built-$1"
		build_source "$1" "$file" "$config" "$sum"
		printf '%s\n' "$sum" > "stamp/built-$1"
	fi
	kernel_release=$(cat "built/$1/release")
	if [ ! -f "stamp/kernel-built-$1" ] || ! whole_kernel "$kernel_release"; then
		make_built "$1"
		printf '%s\n%s\n' "$sum" "$kernel_release" > "stamp/kernel-built-$1"
	fi
}
