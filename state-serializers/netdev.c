// SPDX-License-Identifier: GPL-2.0-only
#include "state-serializers/serializer.h"

extern const struct kho_serializer kho_ser_netdev;
const struct kho_serializer kho_ser_netdev = { .name = "netdev", .order = 30 };
