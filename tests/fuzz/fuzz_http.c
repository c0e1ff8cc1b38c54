// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes in the headers our HTTP server judges by: Host, Accept, Accept-Encoding, and the address it listens on.
 * Whoever calls himself this host is called so in one of a few ways.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "agent/http_address.h"
#include "exporters/negotiate.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	const struct encoder *encoder;
	size_t i = 0;

	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	if (http_host_loopback(text) && strncasecmp(text, "localhost", 9) &&
	    strncmp(text, "[::1]", 5) && strncmp(text, "127.", 4))
		abort();
	encoder = negotiate_encoder(text, ~0U);
	while (i < n_encoders && encoders[i] != encoder)
		i++;
	if (i == n_encoders)
		abort();
	negotiate_gzip(text);
	if (http_address_port(text) && !strrchr(text, ':'))
		abort();
	free(text);
	return 0;
}
