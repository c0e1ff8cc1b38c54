// SPDX-License-Identifier: Apache-2.0
/* Address and credentials of the Kubernetes API; see kubernetes_access.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "agent/kubernetes_access.h"

#define SERVICE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount/"
#define MAX_TOKEN_SIZE	16384

struct kubernetes_access {
	char *url, *node, *token_file, *ca_file; /* files: "" none */
	bool is_secure; /* a token is never sent in clear */
	struct curl_slist *headers;
	struct stat token_status; /* of the file when it was read */
	bool token_is_stale;
};

/* ---- where ---- */

static char *join_url(const char *host, const char *port)
{
	bool is_ipv6 = strchr(host, ':') != NULL;
	char *url;

	if (asprintf(&url, "https://%s%s%s:%s", is_ipv6 ? "[" : "", host, is_ipv6 ? "]" : "",
		     port && *port ? port : "443") < 0)
		return NULL;
	return url;
}

static char *find_url(const struct config *config)
{
	const char *given = config_string(config, "kubernetes.api_url"),
		   *host = getenv("KUBERNETES_SERVICE_HOST");
	size_t length = strlen(given);

	while (length && given[length - 1] == '/')
		length--;
	if (length)
		return strndup(given, length);
	return host && *host ? join_url(host, getenv("KUBERNETES_SERVICE_PORT")) : strdup("");
}

/* The file that was given, or the one of the service account where there is one. */
static char *find_file(const struct config *config, const char *key, const char *usual)
{
	const char *given = config_string(config, key);

	if (*given)
		return strdup(given);
	return strdup(access(usual, R_OK) ? "" : usual);
}

static char *find_node(const struct config *config)
{
	const char *given = config_string(config, "kubernetes.node_name"),
		   *told = getenv("NODE_NAME");

	return strdup(*given ? given : told ? told : "");
}

static const char *find_missing(const struct kubernetes_access *access)
{
	if (!*access->url)
		return "kubernetes.api_url is not set and there is no KUBERNETES_SERVICE_HOST: not in a pod";
	if (strncmp(access->url, "https://", 8) && strncmp(access->url, "http://", 7))
		return "kubernetes.api_url must begin with https:// or http://";
	if (!*access->node)
		return "kubernetes.node_name and NODE_NAME are not set; set one to spec.nodeName";
	if (access->is_secure && !*access->token_file)
		return "there is no token of a service account at " SERVICE_ACCOUNT
		       "token; set automountServiceAccountToken or kubernetes.token_file";
	return NULL;
}

int kubernetes_access_new(const struct config *config, struct kubernetes_access **ret_access,
			  char *reason, size_t reason_size)
{
	const char *enabled = config_string(config, "kubernetes.enabled"), *missing;
	struct kubernetes_access *access;

	if (!strcmp(enabled, "false")) {
		snprintf(reason, reason_size, "kubernetes.enabled is false");
		*ret_access = NULL;
		return 0;
	}
	access = calloc(1, sizeof(*access));
	if (!access)
		return -ENOMEM;
	access->url = find_url(config);
	access->node = find_node(config);
	access->token_file = find_file(config, "kubernetes.token_file", SERVICE_ACCOUNT "token");
	access->ca_file = find_file(config, "kubernetes.ca_file", SERVICE_ACCOUNT "ca.crt");
	access->token_is_stale = true;
	if (!access->url || !access->node || !access->token_file || !access->ca_file) {
		kubernetes_access_free(access);
		return -ENOMEM;
	}
	access->is_secure = !strncmp(access->url, "https://", 8);
	missing = find_missing(access);
	if (missing) {
		snprintf(reason, reason_size, "%s", missing);
		kubernetes_access_free(access);
		if (!strcmp(enabled, "true"))
			return -EINVAL;
		access = NULL;
	}
	*ret_access = access;
	return 0;
}

/* The headers hold the token: nothing of it stays in memory that is given back. */
static void forget_headers(struct kubernetes_access *access)
{
	for (struct curl_slist *header = access->headers; header; header = header->next)
		explicit_bzero(header->data, strlen(header->data));
	curl_slist_free_all(access->headers);
	access->headers = NULL;
}

void kubernetes_access_free(struct kubernetes_access *access)
{
	if (!access)
		return;
	forget_headers(access);
	free(access->url);
	free(access->node);
	free(access->token_file);
	free(access->ca_file);
	free(access);
}

const char *kubernetes_access_url(const struct kubernetes_access *access)
{
	return access->url;
}

const char *kubernetes_access_node(const struct kubernetes_access *access)
{
	return access->node;
}

/* ---- the token ---- */

static bool is_token(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (text[i] <= ' ' || text[i] > '~')
			return false;
	return size > 0;
}

static int set_headers(struct kubernetes_access *access, const char *token, size_t size)
{
	char header[MAX_TOKEN_SIZE + 32];
	struct curl_slist *list;

	forget_headers(access);
	access->headers = curl_slist_append(NULL, "Accept: application/json");
	if (access->headers && size) {
		snprintf(header, sizeof(header), "Authorization: Bearer %.*s", (int)size, token);
		list = curl_slist_append(access->headers, header);
		explicit_bzero(header, sizeof(header));
		if (!list)
			forget_headers(access);
	}
	return access->headers ? 0 : -ENOMEM;
}

static int read_token(struct kubernetes_access *access)
{
	char token[MAX_TOKEN_SIZE + 1];
	ssize_t size;
	int fd = open(access->token_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK), err = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &access->token_status))
		err = -errno;
	size = err ? 0 : read(fd, token, sizeof(token));
	if (size < 0)
		err = -errno;
	close(fd);
	if (err)
		return err;
	while (size &&
	       (token[size - 1] == '\n' || token[size - 1] == '\r' || token[size - 1] == ' '))
		size--;
	err = (size_t)size < sizeof(token) && is_token(token, (size_t)size)
		      ? set_headers(access, token, (size_t)size)
		      : -EBADMSG;
	explicit_bzero(token, sizeof(token));
	return err;
}

static bool has_changed(const struct kubernetes_access *access)
{
	const struct stat *before = &access->token_status;
	struct stat now;

	return stat(access->token_file, &now) || now.st_ino != before->st_ino ||
	       now.st_size != before->st_size || now.st_mtim.tv_sec != before->st_mtim.tv_sec ||
	       now.st_mtim.tv_nsec != before->st_mtim.tv_nsec;
}

int kubernetes_access_apply(struct kubernetes_access *access, CURL *easy)
{
	int err = 0;

	if (access->is_secure && (access->token_is_stale || has_changed(access)))
		err = read_token(access);
	else if (!access->is_secure && !access->headers)
		err = set_headers(access, "", 0);
	access->token_is_stale = err != 0;
	if (err)
		return err;
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, access->headers);
	if (*access->ca_file)
		curl_easy_setopt(easy, CURLOPT_CAINFO, access->ca_file);
	return 0;
}

void kubernetes_access_refused(struct kubernetes_access *access)
{
	access->token_is_stale = true;
}
