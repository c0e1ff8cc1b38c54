// SPDX-License-Identifier: Apache-2.0
/* Any bytes as DNS over UDP, a record a datagram: see protocol.h. */
#define PROTOCOL_UNDER_TEST protocol_dns
#define PROTOCOL_DATAGRAMS
#include "tests/fuzz/protocol.h"
