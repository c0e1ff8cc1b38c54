// SPDX-License-Identifier: Apache-2.0
/* Makes and hands out snapshots; see collector.h. The mutex guards `latest` and `stopping` only, never a collection. */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include "agent/collector.h"
#include "agent/log.h"
#include "agent/loop.h"

struct collector {
	struct loop *loop;
	struct registry *registry;
	collector_write_fn write;
	void *context;
	uint64_t last_duration_ns;

	pthread_mutex_t mutex;
	pthread_cond_t published;
	struct snapshot *latest;
	uint64_t collected_ns; /* when the collection of `latest` began */
	bool stopping;
};

static void collect_on_wake(void *context)
{
	collector_collect(context);
}

int collector_new(struct loop *loop, struct registry *registry, collector_write_fn write,
		  void *context, struct collector **ret_collector)
{
	struct collector *collector = calloc(1, sizeof(*collector));
	pthread_condattr_t attributes;
	int err;

	if (!collector)
		return -ENOMEM;
	collector->loop = loop;
	collector->registry = registry;
	collector->write = write;
	collector->context = context;
	pthread_mutex_init(&collector->mutex, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&collector->published, &attributes);
	pthread_condattr_destroy(&attributes);
	err = loop_on_wake(loop, collect_on_wake, collector);
	if (err) {
		collector_free(collector);
		return err;
	}
	*ret_collector = collector;
	return 0;
}

void collector_free(struct collector *collector)
{
	if (!collector)
		return;
	snapshot_put(collector->latest);
	pthread_cond_destroy(&collector->published);
	pthread_mutex_destroy(&collector->mutex);
	free(collector);
}

struct snapshot *collector_collect(struct collector *collector)
{
	uint64_t began_ns = log_clock_ns();
	struct metric_writer *writer = registry_begin(collector->registry);
	struct snapshot *snapshot, *previous;

	collector->write(collector->context, writer);
	snapshot = registry_finish(collector->registry);
	collector->last_duration_ns = log_clock_ns() - began_ns;
	if (!snapshot) {
		log_limited(LOG_LEVEL_ERROR, "collector",
			    "out of memory: this collection is skipped");
		return NULL;
	}
	pthread_mutex_lock(&collector->mutex);
	previous = collector->latest;
	collector->latest = snapshot;
	collector->collected_ns = began_ns;
	pthread_cond_broadcast(&collector->published);
	pthread_mutex_unlock(&collector->mutex);
	snapshot_put(previous);
	return snapshot;
}

struct snapshot *collector_fresh(struct collector *collector, uint64_t max_age_ns,
				 uint64_t patience_ns)
{
	uint64_t now_ns = log_clock_ns(), deadline_ns = now_ns + patience_ns;
	uint64_t oldest_ns = now_ns > max_age_ns ? now_ns - max_age_ns : 0;
	struct timespec deadline = { (time_t)(deadline_ns / 1000000000ULL),
				     (long)(deadline_ns % 1000000000ULL) };
	struct snapshot *snapshot;
	int err = 0;

	pthread_mutex_lock(&collector->mutex);
	if (!collector->latest || collector->collected_ns < oldest_ns)
		loop_wake(collector->loop);
	while ((!collector->latest || collector->collected_ns < oldest_ns) &&
	       !collector->stopping && !err)
		err = pthread_cond_timedwait(&collector->published, &collector->mutex, &deadline);
	snapshot = collector->latest ? snapshot_get(collector->latest) : NULL;
	pthread_mutex_unlock(&collector->mutex);
	return snapshot;
}

struct snapshot *collector_latest(struct collector *collector)
{
	struct snapshot *snapshot;

	pthread_mutex_lock(&collector->mutex);
	snapshot = collector->latest ? snapshot_get(collector->latest) : NULL;
	pthread_mutex_unlock(&collector->mutex);
	return snapshot;
}

void collector_shut_down(struct collector *collector)
{
	pthread_mutex_lock(&collector->mutex);
	collector->stopping = true;
	pthread_cond_broadcast(&collector->published);
	pthread_mutex_unlock(&collector->mutex);
}

uint64_t collector_last_duration_ns(const struct collector *collector)
{
	return collector->last_duration_ns;
}
