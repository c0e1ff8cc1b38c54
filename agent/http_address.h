/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of the HTTP server: where it listens, and who its peers are. */
#ifndef LEADLINE_HTTP_ADDRESS_H
#define LEADLINE_HTTP_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sockaddr;

#define HTTP_ADDRESS_SIZE 64

/*
 * A non-blocking listening TCP socket for "127.0.0.1:9797", "[::1]:9797" or ":9797" (all addresses, IPv6
 * included where the host has it), or -errno with a message for the user in `error`. Names are not
 * resolved. `address` becomes the address in use, its port never 0.
 */
int http_listen(const char *listen, char address[HTTP_ADDRESS_SIZE], char *error,
		size_t error_size);

/* The port at the end of such an address. */
uint16_t http_address_port(const char *address);

/* 127.0.0.0/8, ::1 and ::ffff:127.0.0.0/104. */
bool http_address_loopback(const struct sockaddr *address);

/* Whether a Host header names this host: "localhost", a 127.x address or [::1], with or without port. */
bool http_host_loopback(const char *host);

#endif
