// SPDX-License-Identifier: GPL-2.0-only
#include "lib/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(struct kho_err *err, int code, const char *tail, const char *fmt, va_list ap)
{
	char text[sizeof(err->msg)];

	vsnprintf(text, sizeof(text), fmt, ap);
	err->code = code;
	snprintf(err->msg, sizeof(err->msg), "%s%s%s", text, *tail ? ": " : "", tail);
}

int kho_fail(struct kho_err *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (code >= 0)
		code = -EIO;
	if (!err)
		return code;
	va_start(ap, fmt);
	fill(err, code, "", fmt, ap);
	va_end(ap);
	return code;
}

int kho_fail_errno(struct kho_err *err, const char *fmt, ...)
{
	int code = errno ? -errno : -EIO;
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	fill(err, code, strerror(-code), fmt, ap);
	va_end(ap);
	return code;
}

int kho_wrap(struct kho_err *err, const char *fmt, ...)
{
	char text[sizeof(err->msg)], old[sizeof(err->msg)];
	va_list ap;

	if (!err)
		return -EIO;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	memcpy(old, err->msg, sizeof(old));
	old[sizeof(old) - 1] = '\0';
	if (snprintf(err->msg, sizeof(err->msg), "%s: %s", text, old) < 0)
		err->msg[0] = '\0';
	return err->code ? err->code : -EIO;
}

void kho_first_failure(int rc, const struct kho_err *from, int *first, struct kho_err *err)
{
	if (rc >= 0 || *first < 0)
		return;
	*first = rc;
	if (err)
		*err = *from;
}
