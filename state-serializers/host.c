// SPDX-License-Identifier: GPL-2.0-only
#include "state-serializers/serializer.h"

extern const struct kho_serializer kho_ser_host;
const struct kho_serializer kho_ser_host = { .name = "host", .order = 20 };
