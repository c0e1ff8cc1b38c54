/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The outbound thread (T2): what the agent asks of other machines, so that none of it can hold up the loop or a scrape.
 * One thread, libcurl's multi interface, timers. All callbacks run on it; what they hand to other threads is theirs
 * to guard.
 */
#ifndef LEADLINE_OUTBOUND_H
#define LEADLINE_OUTBOUND_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

struct outbound;

/* A one-shot timer, kept by who uses it; zeroed but for `fire` and `context`. */
struct outbound_timer {
	void (*fire)(void *context);
	void *context;
	uint64_t deadline_ns; /* CLOCK_MONOTONIC */
	bool armed;
	struct outbound_timer *next;
};

/* A transfer, kept by who uses it. `easy` is set up but for CURLOPT_PRIVATE. */
struct outbound_transfer {
	CURL *easy;
	void (*done)(void *context, CURLcode result); /* it may be added again from here */
	void *context;
	bool running;
};

/* 0 or -ENOMEM. Those with something to do outside then arm a timer, from which all else follows. */
int outbound_new(struct outbound **ret_outbound);
/* Starts the thread, unless nobody has armed a timer. 0 or -errno. */
int outbound_start(struct outbound *outbound);
/* Ends the thread; what is under way is broken off without a callback. Twice is fine. */
void outbound_stop(struct outbound *outbound);
void outbound_free(struct outbound *outbound); /* stops it first; NULL is fine */

int outbound_add(struct outbound *outbound, struct outbound_transfer *transfer); /* 0 or -ENOMEM */
/* Breaks it off without a callback, if it runs. Not from a callback of libcurl. */
void outbound_remove(struct outbound *outbound, struct outbound_transfer *transfer);
/* Arms it, or moves it when it is armed. */
void outbound_arm(struct outbound *outbound, struct outbound_timer *timer, uint64_t delay_ns);
void outbound_disarm(struct outbound *outbound, struct outbound_timer *timer);

#endif
