// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a MySQL connection: see protocol.h. */
#define PROTOCOL_UNDER_TEST protocol_mysql
#include "tests/fuzz/protocol.h"
