/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* The request methods told apart: those OpenTelemetry knows (RFC 9110 and PATCH). */
#ifndef LEADLINE_HTTP1_METHOD_H
#define LEADLINE_HTTP1_METHOD_H

enum http1_method {
	HTTP1_METHOD_OTHER,
	HTTP1_GET,
	HTTP1_HEAD,
	HTTP1_POST,
	HTTP1_PUT,
	HTTP1_DELETE,
	HTTP1_CONNECT,
	HTTP1_OPTIONS,
	HTTP1_TRACE,
	HTTP1_PATCH,
	HTTP1_METHODS,
};

#endif
