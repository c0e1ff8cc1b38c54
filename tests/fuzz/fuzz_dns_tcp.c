// SPDX-License-Identifier: Apache-2.0
/* Any bytes as DNS over TCP: see protocol.h. */
#define PROTOCOL_UNDER_TEST protocol_dns_tcp
#include "tests/fuzz/protocol.h"
