// SPDX-License-Identifier: Apache-2.0
/*
 * Requests in plain text, seen from the kernel: how long each took on the server's and on the client's side, by what was asked
 * and the status, and what is in flight. Of HTTP/1 the kernel side frames, times and aggregates; requests_tables.c turns its rows into
 * series. Other protocols are in requests_protocols.c. Loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "probes/probe.h"
#include "probes/request_waits.h"
#include "probes/requests_metrics.h"
#include "probes/requests_protocols.h"
#include "probes/requests_tables.h"
#include "probes/slow_requests.h"
#include "bpf/lib/budget.h"
#include "bpf/streams.h"
#include "requests.skel.h"

PROBE_SKELETON(requests)

/* Of every socket; without them, families that are looked at have hooks of their own. */
#define EVERY_SEND                                                                                 \
	{                                                                                          \
		"requests_send", HOOK_TP_BTF, "sock_send_length", .min_args = 3                    \
	}
#define EVERY_RECEIVE                                                                              \
	{                                                                                          \
		"requests_recv", HOOK_TP_BTF, "sock_recv_length", .min_args = 3                    \
	}

static const struct hook_alternative every_send = EVERY_SEND, every_receive = EVERY_RECEIVE;

static const struct hook hooks[] = {
	{
		.name = "send",
		.required = true,
		.provides = "requests",
		.alternatives = {
			EVERY_SEND,
			{ "requests_send_fexit", HOOK_FEXIT, "tcp_sendmsg", 0 },
		},
		.hot = true,
	},
	{
		.name = "send pages",
		.where_present = true,
		.provides = "sizes of responses sent by sendfile, and what comes after them",
		.alternatives = {
			{ "requests_sendpage", HOOK_FEXIT, "tcp_sendpage", 0 },
		},
		.hot = true,
	},
	{
		.name = "receive",
		.required = true,
		.provides = "requests",
		.alternatives = {
			EVERY_RECEIVE,
			{ "requests_recv_fexit", HOOK_FEXIT, "tcp_recvmsg", 0 },
		},
		.hot = true,
	},
	{
		.name = "send, unix",
		.where_present = true,
		.unless = &every_send,
		.provides = "requests over unix sockets",
		.alternatives = {
			{ "requests_send_unix", HOOK_FEXIT, "unix_stream_sendmsg", 0 },
		},
		.hot = true,
	},
	{
		.name = "send pages, unix",
		.where_present = true,
		.provides = "what is sent over unix sockets by sendfile",
		.alternatives = {
			{ "requests_sendpage_unix", HOOK_FEXIT, "unix_stream_sendpage", 0 },
		},
		.hot = true,
	},
	{
		.name = "receive, unix",
		.where_present = true,
		.unless = &every_receive,
		.provides = "requests over unix sockets",
		.alternatives = {
			{ "requests_recv_unix", HOOK_FEXIT, "unix_stream_recvmsg", 0 },
		},
		.hot = true,
	},
	{
		.name = "send, UDP",
		.where_present = true,
		.unless = &every_send,
		.provides = "lookups of names over UDP",
		.alternatives = {
			{ "requests_send_udp", HOOK_FEXIT, "udp_sendmsg", 0 },
		},
		.hot = true,
	},
	{
		.name = "send, UDPv6",
		.where_present = true,
		.unless = &every_send,
		.provides = "lookups of names over UDP",
		.alternatives = {
			{ "requests_send_udp6", HOOK_FEXIT, "udpv6_sendmsg", 0 },
		},
		.hot = true,
	},
	{
		.name = "receive, UDP",
		.where_present = true,
		.unless = &every_receive,
		.provides = "lookups of names over UDP",
		.alternatives = {
			{ "requests_recv_udp", HOOK_FEXIT, "udp_recvmsg", 0 },
		},
		.hot = true,
	},
	{
		.name = "receive, UDPv6",
		.where_present = true,
		.unless = &every_receive,
		.provides = "lookups of names over UDP",
		.alternatives = {
			{ "requests_recv_udp6", HOOK_FEXIT, "udpv6_recvmsg", 0 },
		},
		.hot = true,
	},
	{
		.name = "splice",
		.provides = "when responses ended that were spliced away",
		.on_demand = true,
		.alternatives = {
			{ "requests_splice", HOOK_TP_BTF, "tcp_rcv_space_adjust", .min_args = 1 },
		},
	},
	{
		.name = "io_uring",
		.where_present = true,
		.provides = "what is said through io_uring",
		.alternatives = {
			{ "requests_uring_submit", HOOK_TP_BTF, "io_uring_submit_req", .min_args = 1, .max_args = 1 },
			{ "requests_uring_submit_sqe", HOOK_TP_BTF, "io_uring_submit_sqe", .min_args = 2, .max_args = 2 },
		},
	},
	{
		.name = "io_uring waits",
		.where_present = true,
		.provides = "what is said through io_uring by those who wait for it",
		.alternatives = {
			{ "requests_uring_wait", HOOK_TP_BTF, "io_uring_poll_arm", .min_args = 3, .max_args = 3 },
		},
	},
	{
		.name = "older unix sockets",
		.provides = "which connections over unix sockets are older than the agent",
		.alternatives = {
			{ "requests_older_unix", HOOK_ITER, "unix", 0 },
		},
	},
	{
		.name = "close",
		.provides = "responses that end with the connection, requests without response, and how long connecting took",
		.alternatives = {
			{ "requests_state", HOOK_TP_BTF, "inet_sock_set_state", .min_args = 3 },
		},
	},
	{
		.name = "destroy",
		.provides = "requests whose connection was reset",
		.alternatives = {
			{ "requests_destroy", HOOK_TP_BTF, "tcp_destroy_sock", .min_args = 1 },
		},
	},
	{
		.name = "in flight",
		.provides = "requests in flight",
		.alternatives = {
			{ "requests_pass", HOOK_ITER_MAP, "bpf_sk_storage_map", 0 },
			{ "requests_pass_by_file", HOOK_ITER, "task_file", 0 },
		},
	},
	{ 0 },
};

static const struct option_desc options[] = {
	{
		.key = "rows",
		.type = OPTION_INT,
		.fallback = "0",
		.min = 0,
		.max = 65536,
		.help = "Combinations of entity, role, method, status and outcome kept apart; those beyond are counted as \"other\". "
			"Memory: rows * CPUs (at most 8) * 3112 bytes. 0 is 512",
	},
	{
		.key = "protocols",
		.type = OPTION_STRING,
		.fallback = REQUESTS_ALL_PROTOCOLS,
		.check = requests_check_protocols,
		.help = "other protocols than HTTP/1 to look for, separated by blanks",
	},
	{
		.key = "unix_sockets",
		.type = OPTION_BOOL,
		.fallback = "true",
		.help = "whether connections over unix stream sockets are looked at, as those over TCP are",
	},
	{
		.key = "capture_bytes",
		.type = OPTION_BYTES,
		.fallback = "4KiB",
		.min = 0,
		.max = STREAM_CAPTURE_MAX,
		.help = "how much of the beginning of a call on such a connection is copied, to be decoded; 0: nothing is, exchanges are all there is of it",
	},
	{
		.key = "ring_bytes",
		.type = OPTION_BYTES,
		.fallback = "1MiB",
		.min = 16384,
		.max = 64 << 20,
		.help = "room for such copies when the agent is late to read them, rounded up to a power of two; beside it there are up to 8 rings of 128 KiB or less, no more than there are CPUs, each for its share of the connections",
	},
	{
		.key = "connections",
		.type = OPTION_INT,
		.fallback = "8192",
		.min = 1,
		.max = 1 << 20,
		.help = "connections decoded at a time, and calls in flight on all of them together; beyond, the one that was silent longest makes room",
	},
	{
		.key = "slow",
		.type = OPTION_INT,
		.fallback = "10",
		.min = 0,
		.max = SLOW_MAX_KEPT,
		.help = "of each route the slowest requests of a minute that are kept in detail, for GET /requests and exemplars; 0: none",
	},
	{
		.key = "series",
		.type = OPTION_INT,
		.fallback = "1024",
		.min = 16,
		.max = 65536,
		.help = "combinations of entity, role, operation, target and status of decoded calls kept apart, a quarter of them for one program's; "
			"those beyond are counted under the target \"_OTHER\". Memory: up to 3 KiB each",
	},
	{
		.key = "downstreams",
		.type = OPTION_INT,
		.fallback = "256",
		.min = 1,
		.max = 65536,
		.help = "addresses that served requests wait for, by program, whose waits are kept apart; those beyond are \"_OTHER\". "
			"Memory: (CPUs (at most 8) * 8 + 100) bytes each",
	},
	{
		.key = "exchange_rows",
		.type = OPTION_INT,
		.fallback = "0",
		.min = 0,
		.max = 65536,
		.help = "combinations of entity, role and protocol whose exchanges are kept apart; those beyond are counted as \"other\". "
			"Memory: exchange_rows * (CPUs (at most 8) + 1) * 1072 bytes. 0 is 256",
	},
	{ 0 },
};

static const char *const lost_names[REQUESTS_LOST_REASONS] = {
	[REQUESTS_LOST_FRAMING] = "framing",
	[REQUESTS_LOST_RESPONSE] = "response_unknown",
	[REQUESTS_LOST_PIPELINE] = "pipeline_full",
	[REQUESTS_LOST_UNMATCHED] = "response_unmatched",
};

struct requests_state {
	struct requests_tables tables;
	struct request_wait_tables waits;
	const struct budget_lane *lanes; /* by CPU */
	struct requests_shared *shared;
	struct requests_protocols *protocols;
	struct slow_requests *slow; /* NULL: not wanted */
	uint64_t forgotten; /* requests of entities that are gone */
};

/* Made when it is first asked for. NULL: no memory. */
static struct requests_state *state_of(struct probe *probe)
{
	struct requests_state *state = probe_data(probe);

	if (state)
		return state;
	state = calloc(1, sizeof(*state));
	if (!state)
		return NULL;
	state->tables.lanes = requests_lanes_for(probe_cpus(probe));
	state->tables.rows = requests_rows_for((unsigned)probe_option_int(probe, "rows"));
	state->tables.entities = probe_max_entities(probe);
	state->waits.lanes = state->tables.lanes;
	state->waits.entities = state->tables.entities;
	state->waits.downstreams = (unsigned)probe_option_int(probe, "downstreams") + 1;
	if (probe_option_int(probe, "slow"))
		state->slow = slow_requests_new((unsigned)probe_option_int(probe, "slow"),
						state->tables.entities);
	if (state->slow || !probe_option_int(probe, "slow"))
		state->protocols = requests_protocols_new(probe, &state->waits, state->slow);
	if (!state->protocols) {
		slow_requests_free(state->slow);
		free(state);
		return NULL;
	}
	probe_set_data(probe, state);
	return state;
}

static int requests_configure(struct probe *probe)
{
	struct requests_state *state = state_of(probe);
	struct requests_settings *settings = &requests_skeleton(probe)->rodata->settings;
	const struct requests_tables *tables;
	int err;

	if (!state)
		return -ENOMEM;
	tables = &state->tables;
	settings->lanes = tables->lanes;
	settings->shared = tables->lanes < probe_cpus(probe);
	settings->rows = tables->rows;
	settings->max_entities = tables->entities;
	settings->unix_sockets = probe_option_bool(probe, "unix_sockets");
	settings->downstreams = state->waits.downstreams;
	requests_set_bounds(settings);

	err = probe_map_size(probe, "rows", tables->lanes * tables->rows);
	if (!err)
		err = probe_map_size(probe, "row_keys", tables->rows);
	if (!err)
		err = probe_map_size(probe, "row_of_key", tables->rows);
	if (!err)
		err = probe_map_size(probe, "free_rows", tables->rows);
	if (!err)
		err = probe_map_size(probe, "bytes", tables->lanes * tables->entities);
	if (!err)
		err = probe_map_size(probe, "in_flight", tables->entities);
	if (!err)
		err = request_waits_configure(&state->waits, probe);
	if (!err)
		err = requests_protocols_configure(state->protocols, settings);
	return err;
}

static uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The budget lets the hooks be there a part of the time. */
static bool is_windowed(const struct requests_state *state)
{
	return __atomic_load_n(&state->lanes[0].window_ends_ns, __ATOMIC_RELAXED);
}

/* Which requests the kernel side tells of from now on. */
static void set_thresholds(const struct requests_state *state, uint64_t now_ns)
{
	for (int role = 0; state->slow && role < REQUESTS_ROLES; role++)
		__atomic_store_n(&state->shared->slow_ns[role],
				 slow_requests_threshold(state->slow, role, now_ns),
				 __ATOMIC_RELAXED);
}

static int requests_prepare(struct probe *probe)
{
	struct requests_state *state = state_of(probe);
	struct requests_tables *tables;
	int err;

	if (!state)
		return -ENOMEM;
	tables = &state->tables;
	tables->row = probe_rows(probe, "rows");
	tables->key = probe_rows(probe, "row_keys");
	tables->bytes = probe_rows(probe, "bytes");
	tables->in_flight = probe_rows(probe, "in_flight");
	state->shared = probe_rows(probe, ".bss");
	state->lanes = probe_rows(probe, "budget_lanes");
	if (!state->shared || !state->lanes || !tables->row || !tables->key || !tables->bytes ||
	    !tables->in_flight)
		return -errno;
	/* Without the last row, which is never handed out. */
	err = probe_fill_free_rows(probe, "free_rows", tables->rows - 1);
	set_thresholds(state, clock_ns());
	if (!err)
		err = request_waits_prepare(&state->waits, probe);
	return err ? err : requests_protocols_prepare(state->protocols, state->shared);
}

static int requests_start(struct probe *probe)
{
	if (!probe_option_bool(probe, "unix_sockets") ||
	    !probe_hook_attached(probe, "older unix sockets"))
		return 0;
	return probe_run_iterator(probe, "requests_older_unix");
}

/* Counts what is in flight. Returns when, or 0 when it could not: what began while the hooks were away is not known. */
static uint64_t find_in_flight(struct probe *probe, const struct requests_state *state)
{
	const struct requests_tables *tables = &state->tables;

	if (!probe_hook_attached(probe, "in flight") || is_windowed(state))
		return 0;
	for (unsigned entity = 0; entity < tables->entities; entity++)
		memset(tables->in_flight[entity].count, 0,
		       sizeof(*tables->in_flight) - offsetof(struct requests_in_flight, count));
	__atomic_store_n(&state->shared->unix_sockets, 0, __ATOMIC_RELAXED);
	if (probe_visit_sockets(probe, "in flight", "connections"))
		return 0;
	probe_report_sockets(probe,
			     __atomic_load_n(&state->shared->unix_sockets, __ATOMIC_RELAXED));
	return clock_ns();
}

static int take_slow_request(const struct requests_state *state, const void *data, size_t size)
{
	uint64_t now_ns = clock_ns();
	int err = slow_requests_take_event(state->slow, data, size, now_ns);

	set_thresholds(state, now_ns);
	return err;
}

static int requests_on_event(struct probe *probe, const void *data, size_t size)
{
	const struct requests_state *state = probe_data(probe);
	const struct stream_event *event = data;

	if (state->slow && size >= sizeof(*event) && event->kind == STREAM_SLOW_REQUEST)
		return take_slow_request(state, data, size);
	requests_protocols_weigh(state->protocols, is_windowed(state) ? state->lanes[0].weight : 1);
	return requests_protocols_take_event(state->protocols, data, size);
}

static void collect_slow(const struct requests_state *state, struct probe *probe,
			 struct metric_writer *writer)
{
	const struct slow_counts *counts;
	uint64_t now_ns = clock_ns();

	if (!state->slow)
		return;
	set_thresholds(state, now_ns);
	slow_requests_write(state->slow, writer, now_ns);
	counts = slow_requests_counts(state->slow);
	probe_report_lost(probe, "slow_routes_full", counts->evicted);
	probe_report_lost(probe, "slow_no_memory", counts->no_memory);
}

static int requests_collect(struct probe *probe, struct metric_writer *writer)
{
	struct requests_state *state = probe_data(probe);
	uint64_t now_ns = find_in_flight(probe, state), total;

	if (now_ns)
		requests_protocols_add_in_flight(state->protocols, state->tables.in_flight);
	total = requests_tables_write(&state->tables, writer, now_ns);
	request_waits_write(&state->waits, writer);
	total += requests_protocols_collect(state->protocols, writer);
	collect_slow(state, probe, writer);
	if (__atomic_load_n(&state->shared->unseen, __ATOMIC_RELAXED))
		probe_demand_hook(probe, "splice");
	probe_report_events(probe, total + state->forgotten);
	for (int i = 0; i < REQUESTS_LOST_REASONS; i++)
		probe_report_lost(probe, lost_names[i],
				  __atomic_load_n(&state->shared->lost[i], __ATOMIC_RELAXED));
	return 0;
}

static void give_back_row(void *context, uint32_t row, const struct requests_key *key)
{
	probe_map_delete(context, "row_of_key", key);
	probe_free_row(context, "free_rows", row);
}

static void give_back_downstream(void *context, uint32_t row, const struct downstream_key *key)
{
	probe_map_delete(context, "row_of_downstream", key);
	probe_free_row(context, "free_downstreams", row);
}

static void requests_forget_entity(struct probe *probe, uint32_t entity)
{
	struct requests_state *state = probe_data(probe);

	state->forgotten += requests_tables_forget(&state->tables, entity, give_back_row, probe);
	state->forgotten += requests_protocols_forget(state->protocols, entity);
	if (request_waits_forget(&state->waits, entity, give_back_downstream, probe))
		__atomic_fetch_add(&state->shared->downstream_generation, 1, __ATOMIC_RELEASE);
	if (state->slow)
		slow_requests_forget(state->slow, entity);
	__atomic_fetch_add(&state->shared->row_generation, 1, __ATOMIC_RELEASE);
}

static void requests_destroy(struct probe *probe)
{
	struct requests_state *state = probe_data(probe);

	requests_protocols_free(state->protocols);
	slow_requests_free(state->slow);
	free(state);
}

const struct probe_desc probe_requests = {
	.name = "requests",
	.help = "Requests of HTTP, gRPC, PostgreSQL, MySQL, Redis and DNS in plain text: durations by what was asked and the status, at servers "
		"and clients, without their doing; of TLS without the tls probe, how long answers take",
	.open = requests_open,
	.close = requests_close,
	.hooks = hooks,
	.metrics = requests_metrics,
	.options = options,
	.configure = requests_configure,
	.prepare = requests_prepare,
	.start = requests_start,
	.on_event = requests_on_event,
	.collect = requests_collect,
	.forget_entity = requests_forget_entity,
	.map_of_sockets = "tls_sockets",
	.destroy = requests_destroy,
	.economy = { .value = 4,
		     .max_shift = 5,
		     .by_connection = true,
		     .typical_ns = 300,
		     .pass_ns = 25 },
};
