/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the Kubernetes API is and how to be let in: from the options, else as every pod is told. The token is read anew
 * when its file has changed, as it is replaced about every hour; it goes into the request and nowhere else. Outbound
 * thread once made.
 */
#ifndef LEADLINE_KUBERNETES_ACCESS_H
#define LEADLINE_KUBERNETES_ACCESS_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stddef.h>
#include "agent/config.h"

struct kubernetes_access;

/*
 * 0, with NULL where the API is not to be followed: disabled, or "auto" outside of a cluster, and then `reason` says
 * what for. -EINVAL with the reason where it was asked for and something is missing; -ENOMEM.
 */
int kubernetes_access_new(const struct config *config, struct kubernetes_access **ret_access,
			  char *reason, size_t reason_size);
void kubernetes_access_free(struct kubernetes_access *access); /* NULL is fine */

const char *
kubernetes_access_url(const struct kubernetes_access *access); /* without a slash at its end */
const char *kubernetes_access_node(const struct kubernetes_access *access);

/* Sets address checks, certificate authority and the token as it is now. 0 or -errno of reading it; -ENOMEM. */
int kubernetes_access_apply(struct kubernetes_access *access, CURL *easy);
/* The token was refused: it is read again by the next apply, even if the file looks the same. */
void kubernetes_access_refused(struct kubernetes_access *access);

#endif
