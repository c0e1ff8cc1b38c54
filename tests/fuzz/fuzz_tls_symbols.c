// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a program or library that a process has mapped. */
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "probes/tls_symbols.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t offsets[TLS_FUNCTIONS];
	int fd = memfd_create("fuzz", MFD_CLOEXEC), n, found = 0;

	if (fd < 0 || (size && write(fd, data, size) != (ssize_t)size))
		abort();
	n = tls_symbols_find(fd, offsets);
	for (int i = 0; i < TLS_FUNCTIONS; i++)
		found += offsets[i] != 0;
	if (n > 0 ? found != n : found)
		abort();
	close(fd);
	return 0;
}
