// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a Redis connection: see protocol.h. */
#define PROTOCOL_UNDER_TEST protocol_redis
#include "tests/fuzz/protocol.h"
