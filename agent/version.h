/* SPDX-License-Identifier: Apache-2.0 */
/* What this binary is: set by the Makefile, in one object. */
#ifndef LEADLINE_VERSION_H
#define LEADLINE_VERSION_H

extern const char leadline_version[]; /* "0.1.0" */
extern const char leadline_commit[]; /* short hash, "unknown" outside a checkout */
extern const char leadline_compiler[];

#endif
