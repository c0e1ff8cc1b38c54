// SPDX-License-Identifier: Apache-2.0
/*
 * Requests within a budget, on the running kernel: a storm on many kept connections is estimated from a part of them, whose turn it
 * is, or from a part of the time; what is recorded once it is over, on the same connections, is exact again. Root. No speed is asserted.
 */
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
#include "tests/harness/dialogue.h"
#include "tests/harness/harness.h"

#define SERVER	    "http_server_request_duration_seconds"
#define CLIENT	    "http_client_request_duration_seconds"
#define REDIS	    "db_client_operation_duration_seconds"
#define CONNECTIONS 64
#define EXACT	    997
/* A whole number of rounds in which each connection has its turn, one in 32 at most. */
#define SECONDS	  16
#define TOLERANCE 0.3
/*
 * Where hooks are there for a part of the time, each window of so many seconds stands for a slot that is longer by what is not recorded, and
 * is at any place in it. So many slots, as what is seen of the first and the last one is a matter of chance.
 */
#define WINDOW_SECONDS 0.125
#define SLOTS	       10
#define SETTLED	       6 /* seconds without another plan */

enum command {
	STORM,
	PAUSE,
	COUNTED,
};

struct talk {
	volatile uint64_t command, requests; /* enum command; made so far */
};

static const char request[] = "GET /of/a/storm HTTP/1.1\r\nHost: storm\r\n\r\n";
static const char response[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes";
static const char command[] = "*2\r\n$3\r\nGET\r\n$5\r\nstorm\r\n";
static const char reply[] = "$3\r\nyes\r\n";

static void exchange(int client, int server, bool is_redis)
{
	const char *const asked = is_redis ? command : request;
	const char *const answered = is_redis ? reply : response;
	char buffer[256];

	MUST(send(client, asked, strlen(asked), 0));
	MUST(recv(server, buffer, sizeof(buffer), 0));
	MUST(send(server, answered, strlen(answered), 0));
	MUST(recv(client, buffer, sizeof(buffer), 0));
}

/* Both ends of all connections in one thread: a request is always answered before the next is made. The last connection speaks Redis. */
static int talk(void *argument, void *shared)
{
	struct talk *state = shared;
	int client[CONNECTIONS + 1], server[CONNECTIONS + 1], port, listener;
	const struct timespec moment = { .tv_nsec = 10000000 };

	listener = listen_on_loopback(AF_INET, &port);
	for (int i = 0; i <= CONNECTIONS; i++) {
		const int on = 1;

		client[i] = connect_to_loopback(AF_INET, port);
		server[i] = (int)MUST(accept(listener, NULL, NULL));
		MUST(setsockopt(client[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)));
	}
	while (state->command != COUNTED) {
		if (state->command == PAUSE) {
			nanosleep(&moment, NULL);
			continue;
		}
		for (int i = 0; i <= CONNECTIONS; i++)
			exchange(client[i], server[i], i == CONNECTIONS);
		state->requests += CONNECTIONS;
	}
	for (int i = 0; i < EXACT; i++) {
		exchange(client[i % CONNECTIONS], server[i % CONNECTIONS], false);
		exchange(client[CONNECTIONS], server[CONNECTIONS], true);
	}
	(void)argument;
	return 0;
}

static double sampling_ratio(struct leadline *leadline)
{
	struct page *page = leadline_scrape(leadline);
	double ratio = metric_value(page, "leadline_sampling_ratio", "probe", "requests", NULL);

	page_free(page);
	return ratio;
}

static bool ratio_is(struct leadline *leadline, double least, double most)
{
	double ratio;

	pause_seconds(1); /* asked seldom: answering takes of the budget */
	ratio = sampling_ratio(leadline);
	return ratio >= least && ratio <= most;
}

/* The ratio between these that the budget has come to rest at. */
static bool is_settled(struct leadline *leadline, double least, double most)
{
	double ratio = sampling_ratio(leadline);

	for (int i = 0; i < SETTLED; i++)
		if (!ratio_is(leadline, fmax(least, ratio), fmin(most, ratio)))
			return false;
	return true;
}

struct counts {
	double made, server, client, redis;
};

/* What hooks that come and go make lost: decoders are told of gaps, and give up the call that was under way. */
static bool is_of_windows(const char *reason)
{
	return !strcmp(reason, "recursion") || !strcmp(reason, "gap") ||
	       !strcmp(reason, "call_abandoned");
}

static struct counts count(struct leadline *leadline, const struct workload *workload)
{
	const struct talk *state = workload->shared;
	struct counts counts = { .made = (double)state->requests / 2 };
	struct page *page = leadline_scrape(leadline);

	counts.made += (double)state->requests / 2;
	counts.server = metric_histogram(page, SERVER, "comm", workload->comm, NULL).count;
	counts.client = metric_histogram(page, CLIENT, "comm", workload->comm, NULL).count;
	counts.redis = metric_histogram(page, REDIS, "comm", workload->comm, NULL).count;
	for (size_t i = 0; i < page->n_samples; i++) {
		const struct page_sample *sample = &page->samples[i];
		const char *reason = sample_label(sample, "reason");

		if (!strcmp(sample->name, "leadline_probe_lost_total") &&
		    !strcmp(sample_label(sample, "probe"), "requests") && sample->value > 0 &&
		    !is_of_windows(reason))
			test_fail("%g lost: %s", sample->value, reason);
	}
	page_free(page);
	return counts;
}

/*
 * A storm that the budget bears a part of, between these: an estimate. Without the budget, then, exact counts. window_seconds: 0 where
 * hooks are there all the time.
 */
static void estimate_then_count(const char *budget, double least, double most,
				double window_seconds)
{
	const char *directory = temporary_directory();
	const char *path = write_file(directory, "leadline.yaml", budget);
	const char *const flags[] = { "--config", path, "--max_age=0s", NULL };
	struct leadline *leadline = leadline_start_only("requests", flags);
	struct workload *workload = workload_start("talk", 0, talk, NULL);
	struct talk *shared = workload->shared;
	struct counts before, after;
	double made, server, client, redis;

	workload_release(workload);
	if (!WAIT_UNTIL(is_settled(leadline, least, most), 40))
		test_fail("with %s one in %.0f is recorded", budget, 1 / sampling_ratio(leadline));
	before = count(leadline, workload);
	/* the workload itself */
	sleep((unsigned)fmax(SECONDS, ceil(SLOTS * window_seconds / sampling_ratio(leadline))));
	after = count(leadline, workload);
	made = after.made - before.made;
	server = after.server - before.server;
	client = after.client - before.client;
	redis = (after.redis - before.redis) * CONNECTIONS;
	printf("# %.0f requests, counted at the server %+.1f %%, at the client %+.1f %%; of Redis %+.1f %%\n",
	       made, 100 * (server / made - 1), 100 * (client / made - 1),
	       100 * (redis / made - 1));
	assert_true(fabs(server / made - 1) < TOLERANCE);
	assert_true(fabs(client / made - 1) < TOLERANCE);
	assert_true(fabs(redis / made - 1) < TOLERANCE);

	/* Others on the host may make requests, too: the limit is taken away, not waited for. */
	shared->command = PAUSE;
	write_file(directory, "leadline.yaml", "budget: 0\n");
	assert_int_equal(kill(leadline->pid, SIGHUP), 0);
	assert_true(WAIT_UNTIL(ratio_is(leadline, 1, 1), 10));
	before = count(leadline, workload);
	shared->command = COUNTED;
	workload_finish(workload, 20);
	after = count(leadline, workload);
	assert_float_equal(after.server - before.server, EXACT, 0);
	assert_float_equal(after.client - before.client, EXACT, 0);
	/* but for those that its decoder needs to find its way after a gap */
	assert_in_range((uint64_t)(after.redis - before.redis), EXACT - 8, EXACT);
	leadline_stop(leadline);
}

static void a_storm_is_estimated_from_some_connections(void **state)
{
	require_real_time();
	estimate_then_count("budget: 1.5%\n", 1.0 / 32, 0.5, 0);
	(void)state;
}

static void a_storm_is_estimated_from_windows(void **state)
{
	require_real_time();
	estimate_then_count("budget: 0.7%\n", 1.0 / 64, 1.0 / 4, WINDOW_SECONDS);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HARNESS_TEST(a_storm_is_estimated_from_some_connections),
		HARNESS_TEST(a_storm_is_estimated_from_windows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
