// SPDX-License-Identifier: Apache-2.0
/* The outbound thread; see outbound.h. Its lists belong to the thread once it runs. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include "agent/log.h"
#include "agent/outbound.h"

#define LONGEST_WAIT_MS 60000

struct outbound {
	CURLM *multi;
	struct outbound_timer *timers; /* armed ones, soonest first */
	pthread_t thread;
	bool runs;
	atomic_bool stopping;
};

int outbound_new(struct outbound **ret_outbound)
{
	struct outbound *outbound = calloc(1, sizeof(*outbound));

	if (!outbound)
		return -ENOMEM;
	atomic_init(&outbound->stopping, false);
	*ret_outbound = outbound;
	return 0;
}

/* ---- timers ---- */

void outbound_disarm(struct outbound *outbound, struct outbound_timer *timer)
{
	for (struct outbound_timer **at = &outbound->timers; *at; at = &(*at)->next)
		if (*at == timer) {
			*at = timer->next;
			break;
		}
	timer->armed = false;
}

void outbound_arm(struct outbound *outbound, struct outbound_timer *timer, uint64_t delay_ns)
{
	struct outbound_timer **at = &outbound->timers;

	outbound_disarm(outbound, timer);
	timer->deadline_ns = log_clock_ns() + delay_ns;
	timer->armed = true;
	while (*at && (*at)->deadline_ns <= timer->deadline_ns)
		at = &(*at)->next;
	timer->next = *at;
	*at = timer;
}

static void fire_timers(struct outbound *outbound)
{
	uint64_t now_ns =
		log_clock_ns(); /* read once: one that arms itself again waits for the next turn */

	while (outbound->timers && outbound->timers->deadline_ns <= now_ns) {
		struct outbound_timer *timer = outbound->timers;

		outbound->timers = timer->next;
		timer->armed = false;
		timer->fire(timer->context);
	}
}

static int next_wait_ms(const struct outbound *outbound)
{
	uint64_t now_ns = log_clock_ns(), wait_ms;

	if (!outbound->timers)
		return LONGEST_WAIT_MS;
	if (outbound->timers->deadline_ns <= now_ns)
		return 0;
	wait_ms = (outbound->timers->deadline_ns - now_ns) / 1000000 + 1;
	return wait_ms < LONGEST_WAIT_MS ? (int)wait_ms : LONGEST_WAIT_MS;
}

/* ---- transfers ---- */

int outbound_add(struct outbound *outbound, struct outbound_transfer *transfer)
{
	if (curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, transfer) ||
	    curl_multi_add_handle(outbound->multi, transfer->easy))
		return -ENOMEM;
	transfer->running = true;
	return 0;
}

void outbound_remove(struct outbound *outbound, struct outbound_transfer *transfer)
{
	if (!transfer->running)
		return;
	curl_multi_remove_handle(outbound->multi, transfer->easy);
	transfer->running = false;
}

static void finish_transfers(struct outbound *outbound)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(outbound->multi, &left))) {
		struct outbound_transfer *transfer = NULL;
		CURLcode result = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
		outbound_remove(outbound, transfer); /* `message` is gone with it */
		transfer->done(transfer->context, result);
	}
}

/* ---- the thread ---- */

static void *run(void *context)
{
	struct outbound *outbound = context;
	int running;

	pthread_setname_np(pthread_self(), "leadline-out");
	while (!atomic_load(&outbound->stopping)) {
		fire_timers(outbound);
		curl_multi_perform(outbound->multi, &running);
		finish_transfers(outbound);
		/* Out of memory or of files: not in a busy loop. */
		if (curl_multi_poll(outbound->multi, NULL, 0, next_wait_ms(outbound), NULL))
			nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	}
	return NULL;
}

int outbound_start(struct outbound *outbound)
{
	int err;

	if (!outbound->timers)
		return 0;
	outbound->multi = curl_multi_init();
	if (!outbound->multi)
		return -ENOMEM;
	err = -pthread_create(&outbound->thread, NULL, run, outbound);
	outbound->runs = !err;
	return err;
}

void outbound_stop(struct outbound *outbound)
{
	if (!outbound || !outbound->runs)
		return;
	atomic_store(&outbound->stopping, true);
	curl_multi_wakeup(outbound->multi);
	pthread_join(outbound->thread, NULL);
	outbound->runs = false;
}

void outbound_free(struct outbound *outbound)
{
	if (!outbound)
		return;
	outbound_stop(outbound);
	curl_multi_cleanup(outbound->multi);
	free(outbound);
}
