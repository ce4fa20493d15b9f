// SPDX-License-Identifier: GPL-2.0-only
/*
 * Fuzz target: what others write of containers: a shim's answer, a runtime's state, a shim's options, a declared name. Input:
 * which of them (one byte), its bytes.
 */
#include "fuzz.h"
#include "lib/cleanup.h"
#include "lib/containerd.h"
#include "lib/io.h"
#include "lib/pod.h"
#include "state-serializers/proc/shim.h"
#include "state-serializers/proc/ttrpc.h"

static void answer(const uint8_t *data, size_t size)
{
	struct kho_err err = KHO_ERR_INIT;
	struct kho_blob b;
	void *m;

	if (kho_ttrpc_parse(data, size, size > 7 ? data[7] : 0, &b, &err)) {
		fuzz_check(*err.msg && !b.data);
		return;
	}
	m = kho_pb_unpack(&kho_ctd__state_response__descriptor, &b, &err);
	if (m)
		protobuf_c_message_free_unpacked(m, NULL);
	kho_blob_done(&b);
}

static void status(const char *text, size_t len)
{
	KhoProc__Container c = KHO_PROC__CONTAINER__INIT;
	const uint64_t inodes[KHO_CONTAINER_PIPES] = { 1, 2, 3 };
	_cleanup_free_ char *out = NULL;
	struct kho_err err = KHO_ERR_INIT;

	if (!kho_container_pipes(text, len, &c, &err)) {
		fuzz_check(c.n_pipe <= KHO_CONTAINER_PIPES);
		fuzz_check(!kho_container_status(text, len, &c, 7, inodes, &out, &err) && *out);
	}
	for (size_t i = 0; i < c.n_pipe; i++)
		kho_proc__standard_pipe__free_unpacked(c.pipe[i], NULL);
	free(c.pipe);
}

static void words(const char *text)
{
	struct kho_containerd_name name;
	struct kho_pod_name pod;
	_cleanup_free_ char *path = kho_shim_path(text, text);
	KhoCtd__Options *o = kho_shim_options(text, "runc", NULL);

	fuzz_check(path && strlen(path) <= 2 * strlen(text) + strlen(KHO_SHIM_DIR) + 2);
	if (o)
		kho_ctd__options__free_unpacked(o, NULL);
	if (kho_containerd_name(text, &name)) /* it becomes part of a path */
		fuzz_check(!strchr(name.ns, '/') && !strchr(name.id, '/') && !strstr(name.ns, "..") && !strstr(name.id, "..") && *name.id);
	if (kho_pod_name(text, &pod))
		fuzz_check(*pod.ns && *pod.name && !strchr(pod.ns, '/') && !strchr(pod.name, '/'));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_free_ char *text = size ? strndup((const char *)data + 1, size - 1) : NULL;

	if (!text)
		return 0;
	switch (data[0] % 3) {
	case 0:
		answer(data + 1, size - 1);
		break;
	case 1:
		status(text, strlen(text));
		break;
	default:
		words(text);
	}
	return 0;
}
