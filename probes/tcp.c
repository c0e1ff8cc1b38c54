// SPDX-License-Identifier: Apache-2.0
/*
 * TCP per entity: connections opened and failed, connect latency, round-trip time, bytes, retransmits,
 * resets. The kernel side (bpf/tcp.bpf.c) keeps a row per entity; this file turns rows into series and
 * starts the passes over live connections, within a bounded share of the time. Loop thread only.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "bpf/tcp.h"
#include "probes/probe.h"
#include "probes/tcp.h"
#include "tcp.skel.h"

PROBE_SKELETON(tcp)

/* However many sockets there are, passes over them take at most this share of the loop's time. */
#define PASS_SHARE	     100 /* 1/100 */
#define ADOPTION_SHARE	     1000
#define ADOPTION_INTERVAL_NS 1000000000ULL

/* ---- hooks, metrics, options ---- */

static const struct hook hooks[] = {
	{ "connection state",
	  true,
	  "connections",
	  { { "tcp_state_changed", HOOK_TP_BTF, "inet_sock_set_state", 3 } } },
	{ "end of a socket",
	  false,
	  "second look at connections whose end was missed",
	  { { "tcp_socket_destroyed", HOOK_TP_BTF, "tcp_destroy_sock", 1 } } },
	{ "reset sent",
	  false,
	  "resets sent",
	  { { "tcp_reset_sent", HOOK_TP_BTF, "tcp_send_reset", 1 } } },
	{ "reset received",
	  false,
	  "resets received",
	  { { "tcp_reset_received", HOOK_TP_BTF, "tcp_receive_reset", 1 } } },
	{ "SYN-ACK retransmitted",
	  false,
	  "retransmitted SYN-ACKs",
	  { { "tcp_synack_retransmitted", HOOK_TP_BTF, "tcp_retransmit_synack", 1 } } },
	{ "live connections",
	  false,
	  "totals of connections before they close",
	  { { "tcp_live", HOOK_ITER_MAP, "bpf_sk_storage_map", 0 },
	    { "tcp_live_by_file", HOOK_ITER, "task_file", 0 } } },
	{ "older sockets",
	  false,
	  "connections older than the agent",
	  { { "tcp_adopt", HOOK_ITER, "task_file", 0 } } },
	{ .name = NULL },
};

static const char *const direction_names[] = {
	[TCP_SENT] = "sent",
	[TCP_RECEIVED] = "received",
};
_Static_assert(sizeof(direction_names) / sizeof(direction_names[0]) == TCP_DIRECTIONS, "all named");

static const char *const role_names[] = {
	[TCP_CLIENT] = "client",
	[TCP_SERVER] = "server",
};
_Static_assert(sizeof(role_names) / sizeof(role_names[0]) == TCP_ROLES, "all named");

static const char *const failure_names[] = {
	[TCP_FAILED_REFUSED] = "refused",
	[TCP_FAILED_TIMEOUT] = "timeout",
	[TCP_FAILED_UNREACHABLE] = "unreachable",
	[TCP_FAILED_RESET] = "reset",
	[TCP_FAILED_ABORTED] = "aborted",
	[TCP_FAILED_LOCAL] = "local",
	[TCP_FAILED_OTHER] = "other",
};
_Static_assert(sizeof(failure_names) / sizeof(failure_names[0]) == TCP_FAILURES, "all named");

static const struct metric_desc connect_duration_max = {
	.name = "leadline_tcp_connect_duration_max_seconds",
	.help = "The longest time a connection took to be established in this minute and the one before",
	.unit = "seconds",
	.kind = METRIC_GAUGE,
	.per_entity = true,
	.merges_by_max = true,
};

static const struct metric_desc connect_duration = {
	.name = "leadline_tcp_connect_duration_seconds",
	.help = "Time from the first SYN of a connecting socket until the connection is established",
	.unit = "seconds",
	.kind = METRIC_HISTOGRAM,
	.per_entity = true,
	.worst = &connect_duration_max,
};

static const struct metric_desc connect_failures = {
	.name = "leadline_tcp_connect_failures_total",
	.help = "Attempts to connect that failed: refused, timeout, unreachable, reset, aborted (given up by the "
		"program), local (no free port or memory) or other",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "reason" },
};

static const struct metric_desc round_trip_time = {
	.name = "leadline_tcp_rtt_seconds",
	.help = "Smoothed round-trip time as TCP estimates it, sampled when a connection closes and, while its data is "
		"being acknowledged, at a fixed interval (probes.tcp.rtt_interval)",
	.unit = "seconds",
	.kind = METRIC_HISTOGRAM,
	.per_entity = true,
};

static const struct metric_desc bytes = {
	.name = "leadline_tcp_bytes_total",
	.help = "TCP payload, each byte once however often it was sent; counted for who connects or listens",
	.unit = "bytes",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "direction" },
};

static const struct metric_desc retransmitted_segments = {
	.name = "leadline_tcp_retransmitted_segments_total",
	.help = "TCP segments sent again, SYN and SYN-ACK included, as RetransSegs in /proc/net/snmp counts them",
	.kind = METRIC_COUNTER,
	.per_entity = true,
};

static const struct metric_desc resets = {
	.name = "leadline_tcp_resets_total",
	.help = "TCP resets sent and received; those that belong to no socket, as of a port where nothing listens, "
		"under comm \"other\"",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "direction" },
};

static const struct metric_desc connections_opened = {
	.name = "leadline_tcp_connections_opened_total",
	.help = "TCP connections established, by the side that this host had: client or server",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "role" },
};

static const struct metric_desc *const metrics[] = {
	&connect_duration,
	&connect_duration_max,
	&connect_failures,
	&round_trip_time,
	&bytes,
	&retransmitted_segments,
	&resets,
	&connections_opened,
	NULL,
};

static const struct option_desc options[] = {
	{ .key = "live_interval",
	  .type = OPTION_DURATION,
	  .fallback = "1s",
	  .max = 3600,
	  .help = "shortest time between two looks at all live connections, which never take more than 1% of the time" },
	{ .key = "rtt_interval",
	  .type = OPTION_DURATION,
	  .fallback = "10s",
	  .max = 3600,
	  .help = "time between two samples of the round-trip time of a live connection" },
	{ .key = NULL },
};

/* ---- rows ---- */

static void write_histogram(struct metric_writer *writer, const struct metric_desc *desc,
			    uint32_t entity, struct hist *hist)
{
	const struct histogram_view view = {
		.schema = HIST_SCHEMA,
		.min_index = HIST_MIN_INDEX,
		.n_slots = HIST_SLOTS,
		.slots = (const uint64_t *)hist->slots,
		.sum = (double)hist->sum_ns / 1e9,
		.max = (double)hist->max_ns / 1e9,
	};

	if (hist->sum_ns)
		metric_write_histogram(writer, desc, entity, NULL, &view);
	hist->max_ns = 0;
}

static void write_labelled(struct metric_writer *writer, const struct metric_desc *desc,
			   uint32_t entity, const char *label, uint64_t value)
{
	metric_write(writer, desc, entity, (const char *[]){ label }, (double)value);
}

/* What happened, as far as it is counted one by one. */
static uint64_t count_events(const struct tcp_row *row)
{
	uint64_t events = 0;

	for (int i = 0; i < TCP_ROLES; i++)
		events += row->opened[i];
	for (int i = 0; i < TCP_DIRECTIONS; i++)
		events += row->resets[i];
	for (int i = 0; i < TCP_FAILURES; i++)
		events += row->failures[i];
	return events;
}

uint64_t tcp_row_write(struct tcp_row *row, uint32_t entity, struct tcp_sights sights,
		       struct metric_writer *writer)
{
	uint64_t events = count_events(row);

	if (!events && !row->bytes[TCP_SENT] && !row->bytes[TCP_RECEIVED] && !row->retransmitted)
		return 0;
	write_histogram(writer, &connect_duration, entity, &row->connect);
	write_histogram(writer, &round_trip_time, entity, &row->rtt);
	for (int i = 0; i < TCP_DIRECTIONS; i++) {
		write_labelled(writer, &bytes, entity, direction_names[i], row->bytes[i]);
		if (sights.resets[i])
			write_labelled(writer, &resets, entity, direction_names[i], row->resets[i]);
	}
	metric_write(writer, &retransmitted_segments, entity, NULL, (double)row->retransmitted);
	for (int i = 0; i < TCP_ROLES; i++)
		if (row->opened[i])
			write_labelled(writer, &connections_opened, entity, role_names[i],
				       row->opened[i]);
	for (int i = 0; i < TCP_FAILURES; i++)
		if (row->failures[i])
			write_labelled(writer, &connect_failures, entity, failure_names[i],
				       row->failures[i]);
	return events;
}

uint64_t tcp_row_forget(struct tcp_row *row)
{
	uint64_t events = count_events(row);

	/* First disown the sockets, then clear: what they add in between is cleared as well. */
	__atomic_add_fetch(&row->generation, 1, __ATOMIC_SEQ_CST);
	memset(row, 0, offsetof(struct tcp_row, generation));
	return events;
}

/* ---- running ---- */

struct tcp_data {
	struct tcp_row *rows; /* by entity, mapped */
	unsigned entities;
	uint64_t live_interval_ns;
	uint64_t *states; /* mapped: how many sockets the pass saw */
	uint64_t next_pass_ns, next_adoption_ns; /* CLOCK_MONOTONIC */
	uint64_t orphaned_seen;
	uint64_t retired_events; /* of rows that were given to other entities */
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

/* When something that began at `began` and ended just now may be done again. */
static uint64_t next_turn(uint64_t began, uint64_t interval_ns, uint64_t share)
{
	uint64_t ended = now_ns(), pause = (ended - began) * share;

	return interval_ns > pause ? began + interval_ns : began + pause;
}

static int configure(struct probe *probe)
{
	tcp_skeleton(probe)->rodata->settings.rtt_interval_ns =
		(uint64_t)probe_option_int(probe, "rtt_interval");
	return probe_map_size(probe, "tcp_rows", probe_max_entities(probe));
}

static void adopt_sockets(struct probe *probe)
{
	struct tcp_data *data = probe_data(probe);
	uint64_t began = now_ns();
	int err = 0;

	if (probe_hook_attached(probe, "older sockets"))
		err = probe_run_iterator(probe, "tcp_adopt");
	if (err)
		probe_degrade(probe, "sockets cannot be listed: %s", strerror(-err));
	data->next_adoption_ns = next_turn(began, ADOPTION_INTERVAL_NS, ADOPTION_SHARE);
	data->orphaned_seen = data->rows[0].orphaned;
}

static int start(struct probe *probe)
{
	struct tcp_data *data = calloc(1, sizeof(*data));

	if (!data)
		return -ENOMEM;
	probe_set_data(probe, data);
	data->entities = probe_max_entities(probe);
	data->live_interval_ns = (uint64_t)probe_option_int(probe, "live_interval");
	data->rows = probe_rows(probe, "tcp_rows");
	data->states = data->rows ? probe_rows(probe, "tcp_states") : NULL;
	if (!data->states)
		return -errno;
	adopt_sockets(probe);
	return 0;
}

static void visit_live_connections(struct probe *probe)
{
	struct tcp_data *data = probe_data(probe);
	uint64_t began = now_ns();
	int err;

	if (began < data->next_pass_ns || !probe_hook_attached(probe, "live connections"))
		return;
	*data->states = 0;
	err = probe_visit_sockets(probe, "live connections", "tcp_sockets");
	if (err)
		probe_degrade(probe, "live connections cannot be visited: %s", strerror(-err));
	else
		probe_report_sockets(probe, *data->states);
	data->next_pass_ns = next_turn(began, data->live_interval_ns, PASS_SHARE);
}

static int collect(struct probe *probe, struct metric_writer *writer)
{
	struct tcp_data *data = probe_data(probe);
	const struct tcp_sights sights = {
		.resets = { [TCP_SENT] = probe_hook_attached(probe, "reset sent"),
			    [TCP_RECEIVED] = probe_hook_attached(probe, "reset received") },
	};
	uint64_t events = data->retired_events;

	visit_live_connections(probe);
	/* Somebody still uses sockets made under a name he no longer has: find out who. */
	if (data->rows[0].orphaned != data->orphaned_seen && now_ns() >= data->next_adoption_ns)
		adopt_sockets(probe);
	for (uint32_t entity = 0; entity < data->entities; entity++)
		events += tcp_row_write(&data->rows[entity], entity, sights, writer);
	probe_report_events(probe, events);
	return 0;
}

static void forget_entity(struct probe *probe, uint32_t entity)
{
	struct tcp_data *data = probe_data(probe);

	data->retired_events += tcp_row_forget(&data->rows[entity]);
}

static void destroy(struct probe *probe)
{
	free(probe_data(probe));
}

const struct probe_desc probe_tcp = {
	.name = "tcp",
	.help = "TCP connections: latency, failures, round-trip time, bytes, retransmits and resets",
	.open = tcp_open,
	.close = tcp_close,
	.hooks = hooks,
	.metrics = metrics,
	.options = options,
	.configure = configure,
	.start = start,
	.collect = collect,
	.forget_entity = forget_entity,
	.destroy = destroy,
	.economy = { .typical_ns = 400 },
};
