// SPDX-License-Identifier: Apache-2.0
/*
 * Follows the pods of this node: list, then watch from there; see kubernetes.h. One transfer at a time, on the outbound
 * thread. Protocol: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "agent/backoff.h"
#include "agent/json_stream.h"
#include "agent/kubernetes_internal.h"
#include "agent/log.h"

#define NS_PER_S	 1000000000ULL
#define FIRST_WAIT_NS	 NS_PER_S
#define LONGEST_WAIT_NS	 (60 * NS_PER_S)
#define PUBLISH_DELAY_NS (NS_PER_S / 5) /* changes come in bursts */
#define SHORTEST_WATCH_NS                                                                          \
	NS_PER_S /* one that ends sooner is a failure, lest it be repeated without a pause */
#define CONNECT_SECONDS	  10L
#define LIST_SECONDS	  60L
#define WATCH_SECONDS	  300 /* and up to as long again, so that nodes do not return together */
#define PAGE_SIZE_OF_LIST 500
#define CONTINUE_MAX_SIZE 8192
#define VERSION_SIZE	  128

enum phase { LISTING, WATCHING };

struct kubernetes_watch {
	struct kubernetes_shared *shared;
	struct outbound *outbound;
	struct kubernetes_access *access;
	struct outbound_transfer transfer;
	struct outbound_timer begin, publish;
	struct json_stream *stream;
	struct pod_store *store;
	char *escaped_node;
	enum phase phase;
	bool needs_latest; /* the server's cache was too old to watch from */
	bool is_expired, has_delivered; /* of the watch under way */
	uint64_t began_ns, skipped_before;
	unsigned failures; /* in a row */
	char version[VERSION_SIZE]; /* watched from */
	char *continue_token; /* of a list in pages; NULL: none */
};

/* ---- what the other threads see ---- */

static void count_failures(struct kubernetes_watch *watch, enum kubernetes_failure failure,
			   uint64_t n)
{
	struct kubernetes_shared *shared = watch->shared;

	pthread_mutex_lock(&shared->mutex);
	shared->failures[failure] += n;
	pthread_mutex_unlock(&shared->mutex);
}

static void count_failure(struct kubernetes_watch *watch, enum kubernetes_failure failure)
{
	count_failures(watch, failure, 1);
}

static void set_up(struct kubernetes_watch *watch, bool is_up)
{
	struct kubernetes_shared *shared = watch->shared;

	pthread_mutex_lock(&shared->mutex);
	shared->is_up = is_up;
	pthread_mutex_unlock(&shared->mutex);
}

static void publish(void *context)
{
	struct kubernetes_watch *watch = context;
	struct kubernetes_shared *shared = watch->shared;
	struct pod_table *table, *before;

	pod_store_expire(watch->store, log_clock_ns());
	table = pod_store_publish(watch->store);
	if (!table) {
		count_failure(watch, KUBERNETES_MEMORY);
		return; /* the table before stays */
	}
	pthread_mutex_lock(&shared->mutex);
	before = shared->table;
	shared->table = table;
	pthread_mutex_unlock(&shared->mutex);
	pod_table_put(before);
}

static void publish_soon(struct kubernetes_watch *watch)
{
	if (!watch->publish.armed)
		outbound_arm(watch->outbound, &watch->publish, PUBLISH_DELAY_NS);
}

/* ---- what the server says ---- */

static int put_pod(struct kubernetes_watch *watch, const json_t *object)
{
	struct pod *pod = pod_parse(object, watch->shared->label_keys);
	int err = pod ? pod_store_put(watch->store, pod) : 0;

	if (!pod)
		count_failure(watch, KUBERNETES_MALFORMED);
	else if (err == -ENOSPC)
		count_failure(watch, KUBERNETES_TOO_MANY);
	else if (err)
		return err;
	return 0;
}

/* An unknown version, or none, is of no use to a watch: what follows is then a new list. */
static void take_version(struct kubernetes_watch *watch, const json_t *metadata)
{
	const char *version = json_text(metadata, "resourceVersion");

	if (version && strlen(version) < sizeof(watch->version))
		strcpy(watch->version, version);
}

static int take_of_list(struct kubernetes_watch *watch, const char *key, const json_t *value)
{
	const char *token;

	if (!strcmp(key, "items"))
		return put_pod(watch, value);
	if (strcmp(key, "metadata"))
		return 0;
	take_version(watch, value);
	token = json_text(value, "continue");
	free(watch->continue_token);
	watch->continue_token =
		token && *token && strlen(token) < CONTINUE_MAX_SIZE ? strdup(token) : NULL;
	return 0;
}

static int take_event(struct kubernetes_watch *watch, const json_t *event)
{
	const char *type = json_text(event, "type");
	const json_t *object = json_object_get(event, "object"),
		     *metadata = json_object_get(object, "metadata");
	int err = 0;

	if (!type)
		return -EBADMSG;
	watch->has_delivered = true;
	if (!strcmp(type, "ERROR")) {
		watch->is_expired = true; /* 410 mostly; whatever it is, a new list mends it */
		return -ECANCELED;
	}
	if (strcmp(type, "BOOKMARK")) {
		err = put_pod(watch, object);
		if (!strcmp(type, "DELETED") && json_text(metadata, "uid"))
			pod_store_delete(watch->store, json_text(metadata, "uid"), log_clock_ns());
		publish_soon(watch);
	}
	take_version(watch, metadata);
	return err;
}

static int take_value(void *context, const char *key, json_t *value)
{
	struct kubernetes_watch *watch = context;

	return watch->phase == LISTING ? take_of_list(watch, key, value) : take_event(watch, value);
}

/* Errors latch in the stream, which is asked at the end. */
static size_t receive(char *data, size_t size, size_t n, void *context)
{
	struct kubernetes_watch *watch = context;
	long status = 0;

	curl_easy_getinfo(watch->transfer.easy, CURLINFO_RESPONSE_CODE, &status);
	if (status == 200 && json_stream_feed(watch->stream, data, size * n))
		return 0; /* breaks the transfer off */
	return size * n;
}

/* The empty line behind the head: a watch is open from here on, however long its first event takes. */
static size_t receive_header(char *data, size_t size, size_t n, void *context)
{
	struct kubernetes_watch *watch = context;
	long status = 0;

	curl_easy_getinfo(watch->transfer.easy, CURLINFO_RESPONSE_CODE, &status);
	if (size * n <= 2 && status == 200 && watch->phase == WATCHING)
		set_up(watch, true);
	return size * n;
}

/* ---- asking ---- */

static char *make_url(struct kubernetes_watch *watch)
{
	const char *base = kubernetes_access_url(watch->access);
	CURL *easy = watch->transfer.easy;
	bool lists = watch->phase == LISTING;
	char *escaped, *url = NULL;
	uint16_t spread = 0;

	escaped = curl_easy_escape(
		easy, lists ? watch->continue_token ? watch->continue_token : "" : watch->version,
		0);
	if (!escaped)
		return NULL;
	if (!lists) {
		getrandom(&spread, sizeof(spread), GRND_NONBLOCK);
		if (asprintf(
			    &url,
			    "%s/api/v1/pods?fieldSelector=spec.nodeName%%3D%s&watch=1&allowWatchBookmarks=true"
			    "&resourceVersion=%s&timeoutSeconds=%d",
			    base, watch->escaped_node, escaped,
			    WATCH_SECONDS + spread % WATCH_SECONDS) < 0)
			url = NULL;
	} else if (asprintf(&url, "%s/api/v1/pods?fieldSelector=spec.nodeName%%3D%s&limit=%d%s%s%s",
			    base, watch->escaped_node, PAGE_SIZE_OF_LIST,
			    *escaped ? "&continue=" : "", escaped,
			    *escaped || watch->needs_latest ? "" : "&resourceVersion=0") < 0) {
		/* Version 0: any that the server has at hand, which spares the store behind it. */
		url = NULL;
	}
	curl_free(escaped);
	return url;
}

static int prepare(struct kubernetes_watch *watch)
{
	CURL *easy = watch->transfer.easy;
	bool lists = watch->phase == LISTING;
	char *url = make_url(watch);
	CURLcode result;

	if (!url)
		return -ENOMEM;
	result = curl_easy_setopt(easy, CURLOPT_URL, url);
	free(url);
	if (result)
		return -ENOMEM;
	/* A watch ends on the server's side; ours is for a server that does not keep to it. */
	curl_easy_setopt(easy, CURLOPT_TIMEOUT, lists ? LIST_SECONDS : 2L * WATCH_SECONDS + 30);
	return kubernetes_access_apply(watch->access, easy);
}

static void wait_after_failure(struct kubernetes_watch *watch)
{
	uint32_t random = 0;

	if (watch->failures < 16)
		watch->failures++;
	getrandom(&random, sizeof(random), GRND_NONBLOCK);
	outbound_arm(watch->outbound, &watch->begin,
		     backoff_ns(watch->failures, FIRST_WAIT_NS, LONGEST_WAIT_NS, random));
}

static void restart_list(struct kubernetes_watch *watch)
{
	watch->phase = LISTING;
	free(watch->continue_token);
	watch->continue_token = NULL;
}

static void begin(void *context)
{
	struct kubernetes_watch *watch = context;
	int err;

	if (watch->phase == LISTING && !watch->continue_token)
		pod_store_begin_list(watch->store);
	err = prepare(watch);
	if (err) {
		log_limited(LOG_LEVEL_WARNING, "kubernetes", "cannot read the token: %s",
			    strerror(-err));
		count_failure(watch, err == -ENOMEM ? KUBERNETES_MEMORY : KUBERNETES_UNAUTHORIZED);
		set_up(watch, false);
		wait_after_failure(watch);
		return;
	}
	json_stream_start(watch->stream,
			  watch->phase == LISTING ? JSON_STREAM_LIST : JSON_STREAM_VALUES);
	watch->is_expired = watch->has_delivered = false;
	watch->skipped_before = json_stream_skipped(watch->stream);
	watch->began_ns = log_clock_ns();
	if (outbound_add(watch->outbound, &watch->transfer)) {
		count_failure(watch, KUBERNETES_MEMORY);
		wait_after_failure(watch);
	}
}

/* ---- what came of it ---- */

static enum kubernetes_failure judge(struct kubernetes_watch *watch, CURLcode result, long status)
{
	if (status == 401)
		return KUBERNETES_UNAUTHORIZED;
	if (status == 403)
		return KUBERNETES_FORBIDDEN;
	if (status == 410 || watch->is_expired)
		return KUBERNETES_GONE;
	if (status && status != 200)
		return KUBERNETES_STATUS;
	if (result == CURLE_WRITE_ERROR)
		return KUBERNETES_MALFORMED;
	if (result)
		return KUBERNETES_DISCONNECTED;
	if (!json_stream_is_complete(watch->stream))
		return KUBERNETES_MALFORMED;
	return KUBERNETES_FINE;
}

static void recover(struct kubernetes_watch *watch, enum kubernetes_failure failure,
		    CURLcode result, long status)
{
	static const char *const remedies[KUBERNETES_FAILURES] = {
		[KUBERNETES_UNAUTHORIZED] = "; the token is refused: it is read again",
		[KUBERNETES_FORBIDDEN] =
			"; the service account must be allowed to list and watch pods",
	};

	const char *detail = "";

	count_failure(watch, failure);
	if (failure == KUBERNETES_UNAUTHORIZED)
		kubernetes_access_refused(watch->access);
	if (failure == KUBERNETES_GONE || failure == KUBERNETES_MALFORMED ||
	    watch->phase == LISTING) {
		watch->needs_latest |= failure == KUBERNETES_GONE;
		restart_list(watch);
	}
	set_up(watch, false);
	if (result && result != CURLE_WRITE_ERROR) /* which is our own breaking off */
		detail = curl_easy_strerror(result);
	log_limited(LOG_LEVEL_WARNING, "kubernetes", "pods of %s: %s (HTTP status %ld)%s%s%s",
		    kubernetes_access_node(watch->access), kubernetes_failure_names[failure],
		    status, *detail ? ": " : "", detail,
		    remedies[failure] ? remedies[failure] : "");
	wait_after_failure(watch);
}

static void finish_page(struct kubernetes_watch *watch)
{
	if (!watch->continue_token) {
		pod_store_end_list(watch->store, log_clock_ns());
		watch->phase = WATCHING;
		watch->needs_latest = false;
		publish(watch);
		log_info("kubernetes", "%zu pods on %s", pod_store_living(watch->store),
			 kubernetes_access_node(watch->access));
		malloc_trim(0); /* a long list has come through */
	}
	begin(watch);
}

static void finish(void *context, CURLcode result)
{
	struct kubernetes_watch *watch = context;
	uint64_t skipped = json_stream_skipped(watch->stream) - watch->skipped_before;
	bool is_short = log_clock_ns() - watch->began_ns < SHORTEST_WATCH_NS;
	enum kubernetes_failure failure;
	long status = 0;

	curl_easy_getinfo(watch->transfer.easy, CURLINFO_RESPONSE_CODE, &status);
	count_failures(watch, KUBERNETES_TOO_LARGE, skipped);
	failure = judge(watch, result, status);
	if (watch->phase == WATCHING && !failure && is_short)
		failure = KUBERNETES_DISCONNECTED;
	if (watch->phase == WATCHING && !is_short && (!failure || watch->has_delivered))
		watch->failures = 0;
	if (failure)
		recover(watch, failure, result, status);
	else if (watch->phase == LISTING)
		finish_page(watch);
	else
		begin(watch);
}

/* ---- birth and death ---- */

static int set_up_transfer(struct kubernetes_watch *watch)
{
	CURL *easy = curl_easy_init();
	CURLcode result;

	watch->transfer =
		(struct outbound_transfer){ .easy = easy, .done = finish, .context = watch };
	if (!easy)
		return -ENOMEM;
	result = curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https,http");
	if (!result)
		result = curl_easy_setopt(easy, CURLOPT_NOPROXY, "*"); /* the API is beside us */
	if (!result)
		result = curl_easy_setopt(easy, CURLOPT_USERAGENT, "leadline");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
	/* A watch may be silent for minutes; a peer that is gone must show all the same. */
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 30L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 10L);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, receive);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, watch);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, receive_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, watch);
	return result ? -ENOMEM : 0;
}

int kubernetes_watch_new(struct kubernetes_access *access, struct outbound *outbound,
			 struct kubernetes_shared *shared, struct kubernetes_watch **ret_watch)
{
	struct kubernetes_watch *watch = calloc(1, sizeof(*watch));

	if (!watch) {
		kubernetes_access_free(access);
		return -ENOMEM;
	}
	watch->access = access;
	watch->outbound = outbound;
	watch->shared = shared;
	watch->begin = (struct outbound_timer){ .fire = begin, .context = watch };
	watch->publish = (struct outbound_timer){ .fire = publish, .context = watch };
	watch->stream = json_stream_new(take_value, watch);
	watch->store = pod_store_new();
	watch->escaped_node = curl_easy_escape(NULL, kubernetes_access_node(access), 0);
	if (set_up_transfer(watch) || !watch->stream || !watch->store || !watch->escaped_node) {
		kubernetes_watch_free(watch);
		return -ENOMEM;
	}
	outbound_arm(outbound, &watch->begin, 0);
	*ret_watch = watch;
	return 0;
}

void kubernetes_watch_free(struct kubernetes_watch *watch)
{
	if (!watch)
		return;
	outbound_disarm(watch->outbound, &watch->begin);
	outbound_disarm(watch->outbound, &watch->publish);
	outbound_remove(watch->outbound, &watch->transfer);
	curl_easy_cleanup(watch->transfer.easy);
	json_stream_free(watch->stream);
	pod_store_free(watch->store);
	curl_free(watch->escaped_node);
	free(watch->continue_token);
	kubernetes_access_free(watch->access);
	free(watch);
}
