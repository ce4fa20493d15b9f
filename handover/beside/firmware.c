// SPDX-License-Identifier: GPL-2.0-only
/* Firmware of modules.  See handover/beside/firmware.h. */
#include "handover/beside/firmware.h"

#include <libkmod.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "lib/cleanup.h"
#include "lib/io.h"

/* Where the kernel looks for a file of firmware, in its order; one that is not there is not needed here. */
static int add_firmware(const char *release, const char *name, struct kho_files *l, struct kho_err *err)
{
	static const char *const ends[] = { "", ".zst", ".xz" };
	char dirs[2][PATH_MAX / 2];

	snprintf(dirs[0], sizeof(dirs[0]), "/lib/firmware/%s", release);
	snprintf(dirs[1], sizeof(dirs[1]), "/lib/firmware/updates/%s", release);
	for (size_t i = 0; i < 4 * 3; i++) {
		const char *const places[] = { dirs[1], "/lib/firmware/updates", dirs[0], "/lib/firmware" };
		_cleanup_free_ char *path = NULL;

		if (asprintf(&path, "%s/%s%s", places[i / 3], name, ends[i % 3]) < 0)
			return kho_fail(err, -ENOMEM, "firmware: out of memory");
		if (kho_exists(path))
			return kho_files_add(l, path, err);
	}
	return 0;
}

int kho_firmware_add(struct kmod_module *mod, const char *release, struct kho_files *l, struct kho_err *err)
{
	struct kmod_list *info = NULL, *i;
	int ret = 0;

	if (kmod_module_get_info(mod, &info) < 0)
		return 0;
	kmod_list_foreach (i, info)
		if (!ret && !strcmp(kmod_module_info_get_key(i), "firmware"))
			ret = add_firmware(release, kmod_module_info_get_value(i), l, err);
	kmod_module_info_free_list(info);
	return ret;
}
