// SPDX-License-Identifier: Apache-2.0
/* Any bytes as an HTTP/2 connection: see protocol.h. */
#define PROTOCOL_UNDER_TEST protocol_http2
#include "tests/fuzz/protocol.h"
