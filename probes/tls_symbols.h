/* SPDX-License-Identifier: Apache-2.0 */
/* Where in a file the calls of TLS libraries are by which programs move plain text. The file may be anything. */
#ifndef LEADLINE_TLS_SYMBOLS_H
#define LEADLINE_TLS_SYMBOLS_H

#include <stdint.h>

struct tls_function {
	const char *symbol;
	uint64_t cookie; /* of hooks on it: bpf/tls.h */
};

#define TLS_FUNCTIONS 12
extern const struct tls_function tls_functions[TLS_FUNCTIONS];

/*
 * Offsets in the file, by tls_functions; 0 for what it does not define. Reads its headers and tables of symbols; tables of more
 * than TLS_SYMBOLS_MAX_BYTES are left out. Returns how many there are, or -errno: -ENOEXEC when it is no program or library
 * of this machine.
 */
#define TLS_SYMBOLS_MAX_BYTES (96U << 20)
int tls_symbols_find(int fd, uint64_t ret_offsets[TLS_FUNCTIONS]);

#endif
