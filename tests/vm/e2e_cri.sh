# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
# A client of containerd's CRI plugin in a lab, as kubelet is one: gRPC by curl, messages by protoc. Sourced after e2e.sh.

CRI_PORT=10010

# The plugin's socket as a port, if that kernel has none yet.
cri_open() {
	vm systemctl -q is-active cri.socket || vm systemd-run --quiet --unit=cri --socket-property=ListenStream=$CRI_PORT /usr/lib/systemd/systemd-socket-proxyd \
		/run/containerd/containerd.sock || die "CRI's socket has no port"
}

# cri METHOD REQUEST RESPONSE: the request as text from standard input, the response as text
cri() {
	local m=$1 len status
	protoc -I "$top/tests/vm" --encode="runtime.v1.$2" "$top/tests/vm/cri.proto" > "$out/cri.msg" || die "CRI $m: the request"
	len=$(stat -c %s "$out/cri.msg")
	# a frame: not compressed, length
	# shellcheck disable=SC2059
	{ printf "\\0$(printf '\\x%02x\\x%02x\\x%02x\\x%02x' $((len >> 24)) $((len >> 16 & 255)) $((len >> 8 & 255)) $((len & 255)))"; cat "$out/cri.msg"; } > "$out/cri.frame"
	netns curl -s --max-time 120 --http2-prior-knowledge -H 'content-type: application/grpc' -H 'te: trailers' -D "$out/cri.head" -o "$out/cri.answer" \
		--data-binary "@$out/cri.frame" "http://$(lab status --address):$CRI_PORT/runtime.v1.RuntimeService/$m" || die "CRI $m: curl"
	status=$(tr -d '\r' < "$out/cri.head" | sed -n 's/^grpc-status: *//p')
	[ "$status" = 0 ] || die "CRI $m: status ${status:-none}: $(tr -d '\r' < "$out/cri.head" | sed -n 's/^grpc-message: *//p')"
	tail -c +6 "$out/cri.answer" | protoc -I "$top/tests/vm" --decode="runtime.v1.$3" "$top/tests/vm/cri.proto"
}

# cri_id METHOD REQUEST RESPONSE: the id in it
cri_id() { cri "$@" | sed -n 's/^[a-z_]*_id: "\(.*\)"$/\1/p'; }
