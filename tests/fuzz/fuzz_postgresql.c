// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a PostgreSQL connection: see protocol.h. */
#define PROTOCOL_UNDER_TEST protocol_postgresql
#include "tests/fuzz/protocol.h"
