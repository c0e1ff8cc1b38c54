// SPDX-License-Identifier: Apache-2.0
/*
 * Where the network loses what was sent: packets dropped by reason, datagrams for which a UDP socket had
 * no room, accept queues of listening sockets, packets the CPUs did not get to. The kernel side is
 * bpf/network.bpf.c; this file starts its passes and writes drops, network_listen.c the listening ports.
 * Loop thread only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "bpf/lib/task.h"
#include "probes/host_file.h"
#include "probes/network.h"
#include "probes/probe.h"
#include "probes/softnet.h"
#include "network.skel.h"

PROBE_SKELETON(network)

/* Looking for the owners of sockets goes through all open files: at most this share of the loop's time. */
#define SEARCH_SHARE	   1000 /* 1/1000 */
#define SEARCH_INTERVAL_NS 1000000000ULL

/* ---- hooks, metrics, options ---- */

static const struct hook hooks[] = {
	{ "packet drops",
	  false,
	  "packet drops",
	  { { "packet_dropped_by", HOOK_TP_BTF, "kfree_skb", 4 },
	    { "packet_dropped", HOOK_TP_BTF, "kfree_skb", 3 },
	    { "packet_dropped_unexplained", HOOK_TP_BTF, "kfree_skb", 2, 2 } } },
	{ "UDP drops",
	  false,
	  "UDP drops",
	  { { "udp_dropped", HOOK_TP_BTF, "udp_fail_queue_rcv_skb", 2 } } },
	{ "UDP sockets",
	  false,
	  "UDP drops by program",
	  { { "udp_settle", HOOK_ITER_MAP, "bpf_sk_storage_map", 0 },
	    { "udp_settle_by_file", HOOK_ITER, "task_file", 0 } } },
	{ "listening sockets",
	  false,
	  "accept queues",
	  { { "listen_state_changed", HOOK_TP_BTF, "inet_sock_set_state", 3 } } },
	{ "accept queues",
	  false,
	  "accept queues",
	  { { "listen_visit", HOOK_ITER_MAP, "bpf_sk_storage_map", 0 },
	    { "listen_visit_by_file", HOOK_ITER, "task_file", 0 } } },
	{ "sockets of processes",
	  false,
	  "owners of UDP sockets, and listening sockets older than the agent",
	  { { "network_adopt", HOOK_ITER, "task_file", 0 } } },
	{ .name = NULL },
};

const struct metric_desc packet_drops_metric = {
	.name = "leadline_packet_drops_total",
	.help = "Packets dropped, by the kernel's reason. Some belong to a healthy host: those of sockets that were closed "
		"(SOCKET_CLOSE, QUEUE_PURGE, UNIX_DISCONNECT, TCP_CLOSE, TCP_RESET), of data that came twice (TCP_OLD_DATA, "
		"TCP_OLD_ACK, TCP_OFOMERGE), of packets for others (OTHERHOST, SOCKET_FILTER, NO_SOCKET)",
	.kind = METRIC_COUNTER,
	.labels = { "reason" },
};

static const char *const udp_reason_names[] = {
	[UDP_DROP_RECEIVE_BUFFER] = "receive_buffer_full",
	[UDP_DROP_MEMORY] = "no_memory",
};
_Static_assert(sizeof(udp_reason_names) / sizeof(udp_reason_names[0]) == UDP_DROP_REASONS,
	       "all named");

const struct metric_desc udp_drops_metric = {
	.name = "leadline_udp_drops_total",
	.help = "Datagrams dropped since the receive buffer of their socket was full (RcvbufErrors in /proc/net/snmp) or since "
		"UDP's memory was used up; counted for who holds the socket, from when that was found out",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "reason" },
};

static const struct metric_desc softnet_dropped_metric = {
	.name = "leadline_softnet_dropped_total",
	.help = "Packets dropped since the backlog queue of their CPU was full (net.core.netdev_max_backlog)",
	.kind = METRIC_COUNTER,
};

static const struct metric_desc softnet_time_squeeze_metric = {
	.name = "leadline_softnet_time_squeeze_total",
	.help = "Times that a CPU stopped receiving with packets left, its budget used up (net.core.netdev_budget)",
	.kind = METRIC_COUNTER,
};

static const struct metric_desc *const metrics[] = {
	&packet_drops_metric,	      &udp_drops_metric,
	&listen_queue_metric,	      &listen_queue_max_metric,
	&listen_overflows_metric,     &softnet_dropped_metric,
	&softnet_time_squeeze_metric, NULL,
};

static const struct option_desc options[] = {
	{ .key = "ports",
	  .type = OPTION_INT,
	  .fallback = "256",
	  .min = 16,
	  .max = 65536,
	  .help = "listening ports that can be told apart at a time; those beyond are counted together" },
	{ .key = NULL },
};

/* ---- rows ---- */

uint64_t packet_drops_write(const struct drop_reasons *reasons, const uint64_t *rows, unsigned cpus,
			    struct metric_writer *writer)
{
	unsigned n = drop_rows(drop_reasons_core(reasons), drop_reasons_subsystems(reasons));
	uint64_t all = 0;

	for (unsigned row = 0; row < n; row++) {
		char text[DROP_REASON_NAME_SIZE];
		const char *name = drop_reasons_name(reasons, row, text);
		uint64_t drops = 0;

		for (unsigned cpu = 0; name && cpu < cpus; cpu++)
			drops += rows[(size_t)cpu * n + row];
		if (drops)
			metric_write(writer, &packet_drops_metric, ENTITY_NONE, &name,
				     (double)drops);
		all += drops;
	}
	return all;
}

static void write_udp(struct metric_writer *writer, uint32_t entity, int reason, uint64_t drops)
{
	if (drops)
		metric_write(writer, &udp_drops_metric, entity, &udp_reason_names[reason],
			     (double)drops);
}

uint64_t udp_table_write(struct udp_table *table, const uint64_t totals[UDP_DROP_REASONS],
			 struct metric_writer *writer)
{
	uint64_t all = 0;

	for (int reason = 0; reason < UDP_DROP_REASONS; reason++) {
		uint64_t known = table->totals->pending[reason] + table->forgotten[reason];

		for (uint32_t entity = 1; entity < table->entities; entity++) {
			known += table->rows[entity].drops[reason];
			write_udp(writer, entity, reason, table->rows[entity].drops[reason]);
		}
		/* Drops may go on between one reading and the next: what is known can be more, for a moment. */
		if (totals[reason] > known && totals[reason] - known > table->other[reason])
			table->other[reason] = totals[reason] - known;
		write_udp(writer, ENTITY_OTHER, reason, table->other[reason]);
		all += totals[reason];
	}
	return all;
}

void udp_table_forget(struct udp_table *table, uint32_t entity)
{
	struct udp_row *row = &table->rows[entity];

	row->generation++; /* from here on nothing is added but by who looked just before */
	for (int reason = 0; reason < UDP_DROP_REASONS; reason++)
		table->forgotten[reason] +=
			__atomic_exchange_n(&row->drops[reason], 0, __ATOMIC_RELAXED);
}

/* ---- running ---- */

struct network_data {
	struct drop_reasons reasons;
	uint64_t *drops;
	struct udp_table udp;
	struct listen_table listen;
	bool out_of_memory; /* while the reasons were read */
	bool wants_search; /* listening sockets whose owner is gone */
	uint64_t ownerless_seen, next_search_ns;
	uint64_t udp_settled; /* UDP drops as of the last pass over their sockets */
	struct host_file softnet_file;
	struct host_text text;
	struct softnet softnet;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

static void add_reason(void *context, const char *name, int64_t value)
{
	struct network_data *data = context;

	if (drop_reasons_add(&data->reasons, name, value))
		data->out_of_memory = true;
}

static void add_subsystem(void *context, const char *name, int64_t value)
{
	struct network_data *data = context;

	drop_reasons_add_subsystem(&data->reasons, name, value);
}

static int learn_reasons(struct probe *probe)
{
	struct network_data *data = probe_data(probe);
	int err = probe_kernel_enum(probe, "skb_drop_reason", add_reason, data);

	if (!err)
		err = probe_kernel_enum(probe, "skb_drop_reason_subsys", add_subsystem, data);
	if (err && err != -ENOENT)
		return err;
	return data->out_of_memory ? -ENOMEM : 0;
}

static int configure(struct probe *probe)
{
	struct network_data *data = calloc(1, sizeof(*data));
	struct network_settings *settings;
	unsigned ports = (unsigned)probe_option_int(probe, "ports");
	const char *drops = probe_hook_program(probe, "packet drops");
	int err;

	if (!data)
		return -ENOMEM;
	data->softnet_file.fd = -1;
	probe_set_data(probe, data);
	err = learn_reasons(probe);
	if (err)
		return err;
	settings = (struct network_settings *)&network_skeleton(probe)->rodata->settings;
	settings->core_reasons = drop_reasons_core(&data->reasons);
	settings->subsystems = drop_reasons_subsystems(&data->reasons);
	settings->drops_name_socket = drops && !strcmp(drops, "packet_dropped_by");
	if (!settings->drops_name_socket)
		probe_degrade(
			probe,
			"no listen overflows: other packets dropped at listening sockets would be among them, as this "
			"kernel does not tell which socket dropped a packet");
	data->listen.hides_overflows = !settings->drops_name_socket;
	err = probe_rows_size(probe, "network_drops",
			      drop_rows(settings->core_reasons, settings->subsystems));
	if (!err)
		err = probe_map_size(probe, "udp_rows", probe_max_entities(probe));
	if (!err)
		err = probe_map_size(probe, "listen_rows", 1 + ports);
	if (!err)
		err = probe_map_size(probe, "listen_free", 1 + ports);
	if (!err)
		err = probe_map_size(probe, "listen_index", 1 + ports);
	data->udp.entities = probe_max_entities(probe);
	data->listen.n = 1 + ports;
	return err;
}

/* Who holds the sockets that have no owner; all listening sockets, the first time. */
static void search_owners(struct probe *probe)
{
	struct network_data *data = probe_data(probe);
	uint64_t began = now_ns(), ended, pause;
	int err = 0;

	data->ownerless_seen = __atomic_load_n(&data->udp.totals->ownerless, __ATOMIC_RELAXED);
	data->wants_search = false;
	/* Sockets that come to need an owner from now on wait for the next search. */
	__atomic_fetch_add(&data->udp.totals->search, 1, __ATOMIC_SEQ_CST);
	if (probe_hook_attached(probe, "sockets of processes"))
		err = probe_run_iterator(probe, "network_adopt");
	if (err)
		probe_degrade(probe, "sockets cannot be listed: %s", strerror(-err));
	ended = now_ns();
	pause = (ended - began) * SEARCH_SHARE;
	data->next_search_ns =
		SEARCH_INTERVAL_NS > pause ? began + SEARCH_INTERVAL_NS : began + pause;
}

static int start(struct probe *probe)
{
	struct network_data *data = probe_data(probe);
	int err;

	data->drops = probe_rows(probe, "network_drops");
	data->udp.totals = probe_rows(probe, "udp_totals");
	data->udp.rows = probe_rows(probe, "udp_rows");
	data->listen.rows = probe_rows(probe, "listen_rows");
	if (!data->drops || !data->udp.totals || !data->udp.rows || !data->listen.rows)
		return -errno;
	data->listen.pasts = calloc(data->listen.n, sizeof(*data->listen.pasts));
	if (!data->listen.pasts)
		return -ENOMEM;
	data->listen.hides_rushes = !probe_hook_attached(probe, "listening sockets");
	err = probe_fill_free_rows(probe, "listen_free", data->listen.n);
	if (err)
		return err;
	search_owners(probe);
	return 0;
}

static void run_pass(struct probe *probe, const char *hook, const char *map)
{
	int err = probe_hook_attached(probe, hook) ? probe_visit_sockets(probe, hook, map) : 0;

	if (err)
		probe_degrade(probe, "%s cannot be visited: %s", hook, strerror(-err));
}

/* Sets the totals as they were before the pass. No pass while nothing was dropped. */
static void settle_udp(struct probe *probe, uint64_t totals[UDP_DROP_REASONS])
{
	struct network_data *data = probe_data(probe);
	struct udp_totals *udp = data->udp.totals;
	uint64_t all = 0, pending = 0;

	for (int reason = 0; reason < UDP_DROP_REASONS; reason++) {
		totals[reason] = __atomic_load_n(&udp->drops[reason], __ATOMIC_ACQUIRE);
		all += totals[reason];
		pending += udp->pending[reason];
	}
	if (all == data->udp_settled && !pending)
		return;
	data->udp_settled = all;
	memset(udp->pending, 0, sizeof(udp->pending));
	run_pass(probe, "UDP sockets", "udp_sockets");
}

static void give_back_row(void *context, uint32_t row, const struct listen_key *key)
{
	probe_map_delete(context, "listen_index", key);
	probe_free_row(context, "listen_free", row);
}

static void collect_softnet(struct probe *probe, struct metric_writer *writer)
{
	static const char *const paths[2] = { "net/softnet_stat", NULL };
	struct network_data *data = probe_data(probe);
	int err = host_file_read(&data->softnet_file, "/proc", paths, true, &data->text);

	if (!err && data->text.size == data->text.capacity)
		err = -EFBIG;
	if (!err) {
		data->text.data[data->text.size] = '\0';
		err = softnet_update(&data->softnet, data->text.data);
	}
	if (err) {
		probe_degrade(probe, "/proc/net/softnet_stat cannot be read: %s", strerror(-err));
		return;
	}
	metric_write(writer, &softnet_dropped_metric, ENTITY_NONE, NULL,
		     (double)data->softnet.dropped);
	metric_write(writer, &softnet_time_squeeze_metric, ENTITY_NONE, NULL,
		     (double)data->softnet.time_squeeze);
}

static int collect(struct probe *probe, struct metric_writer *writer)
{
	struct network_data *data = probe_data(probe);
	uint64_t udp[UDP_DROP_REASONS], events, now = now_ns();

	if (now >= data->next_search_ns &&
	    (data->wants_search ||
	     data->ownerless_seen !=
		     __atomic_load_n(&data->udp.totals->ownerless, __ATOMIC_RELAXED)))
		search_owners(probe);
	settle_udp(probe, udp);
	listen_table_clear_levels(&data->listen);
	run_pass(probe, "accept queues", "listeners");
	listen_table_expire(&data->listen, now, give_back_row, probe);

	events = packet_drops_write(&data->reasons, data->drops, probe_cpus(probe), writer);
	events += udp_table_write(&data->udp, udp, writer);
	events += listen_table_write(&data->listen, now, writer);
	collect_softnet(probe, writer);
	probe_report_events(probe, events);
	return 0;
}

static void forget_entity(struct probe *probe, uint32_t entity)
{
	struct network_data *data = probe_data(probe);

	udp_table_forget(&data->udp, entity);
	if (listen_table_forget(&data->listen, entity))
		data->wants_search = true;
}

static void destroy(struct probe *probe)
{
	struct network_data *data = probe_data(probe);

	drop_reasons_free(&data->reasons);
	host_file_close(&data->softnet_file);
	host_text_free(&data->text);
	softnet_free(&data->softnet);
	free(data->listen.pasts);
	free(data);
}

const struct probe_desc probe_network = {
	.name = "network",
	.help = "Packets and datagrams dropped, and full accept queues",
	.open = network_open,
	.close = network_close,
	.hooks = hooks,
	.metrics = metrics,
	.options = options,
	.configure = configure,
	.start = start,
	.collect = collect,
	.forget_entity = forget_entity,
	.destroy = destroy,
	.economy = { .typical_ns = 150 },
};
