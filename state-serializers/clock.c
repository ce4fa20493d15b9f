// SPDX-License-Identifier: GPL-2.0-only
#include "state-serializers/serializer.h"

extern const struct kho_serializer kho_ser_clock;
const struct kho_serializer kho_ser_clock = { .name = "clock", .order = 10 };
