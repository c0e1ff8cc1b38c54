// SPDX-License-Identifier: Apache-2.0
/* Where the time of served requests went; see request_waits.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "probes/probe.h"
#include "probes/request_waits.h"
#include "probes/requests_exchanges.h"

#define OTHER "_OTHER"

const struct metric_desc request_waits_metric = {
	.name = "leadline_request_wait_seconds_total",
	.help = "Where the time of served requests went, from arrival to the last byte of the response: reasons sum to their durations. outbound: it asked the downstream and waited for it. unattributed: another thread answered than the one that read, or it served others meanwhile. Operation and route of HTTP/1 are left out",
	.unit = "seconds",
	.kind = METRIC_COUNTER,
	.per_entity = true,
	.labels = { "reason", "downstream", "protocol", "operation", "route" },
};

static const char *const names[REQUEST_REASONS] = {
#define X(name, label) [WAIT_##name] = label,
	WAIT_REASONS(X)
#undef X
		[REQUEST_SOCKET_QUEUE] = "socket_queue",
	[REQUEST_RUN_QUEUE] = "run_queue",
	[REQUEST_OUTBOUND] = "outbound",
	[REQUEST_ON_CPU] = "on_cpu",
	[REQUEST_UNATTRIBUTED] = "unattributed",
};

const char *request_reason_name(unsigned reason)
{
	return reason < REQUEST_REASONS ? names[reason] : NULL;
}

void request_address(char text[REQUEST_ADDRESS_SIZE], const __u8 address[16], uint16_t port)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	bool is_v4 = !memcmp(address, mapped, sizeof(mapped));
	char number[INET6_ADDRSTRLEN] = "";

	inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? address + 12 : address, number,
		  sizeof(number));
	snprintf(text, REQUEST_ADDRESS_SIZE, is_v4 ? "%s:%u" : "[%s]:%u", number, port);
}

const char *request_downstream_protocol(unsigned protocol)
{
	return protocol == DOWNSTREAM_HTTP ? "http" : stream_protocol_name(protocol);
}

int request_waits_configure(const struct request_wait_tables *tables, struct probe *probe)
{
	int err = probe_map_size(probe, "request_waits", tables->lanes * tables->entities);

	if (!err)
		err = probe_map_size(probe, "row_of_downstream", tables->downstreams);
	if (!err)
		err = probe_map_size(probe, "free_downstreams", tables->downstreams);
	if (!err)
		err = probe_map_size(probe, "downstream_names", tables->downstreams);
	if (!err)
		err = probe_map_size(probe, "downstream_ns", tables->lanes * tables->downstreams);
	return err;
}

int request_waits_prepare(struct request_wait_tables *tables, struct probe *probe)
{
	tables->waits = probe_rows(probe, "request_waits");
	tables->names = probe_rows(probe, "downstream_names");
	tables->downstream_ns = probe_rows(probe, "downstream_ns");
	if (!tables->waits || !tables->names || !tables->downstream_ns)
		return -errno;
	return probe_fill_free_rows(probe, "free_downstreams", tables->downstreams);
}

static uint64_t load(const __u64 *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

static void write_wait(struct metric_writer *writer, const struct request_waits_of *of,
		       unsigned reason, const char *downstream, uint64_t ns)
{
	if (ns)
		metric_write(writer, &request_waits_metric, of->entity,
			     (const char *const[]){ names[reason], downstream, of->protocol,
						    of->operation, of->route },
			     (double)ns / 1e9);
}

/* Of HTTP/1. */
static struct request_waits_of requests_of(uint32_t entity)
{
	return (struct request_waits_of){ entity, "http", "", "", NULL };
}

static void write_entity(const struct request_wait_tables *tables, uint32_t entity,
			 struct metric_writer *writer)
{
	const struct request_waits_of of = requests_of(entity);

	for (unsigned reason = 0; reason < REQUEST_REASONS; reason++) {
		uint64_t ns = 0;

		for (unsigned lane = 0; lane < tables->lanes; lane++)
			ns += load(&tables->waits[(size_t)lane * tables->entities + entity]
					    .reasons_ns[reason]);
		write_wait(writer, &of, reason, reason == REQUEST_OUTBOUND ? OTHER : "", ns);
	}
}

static void write_downstream(const struct request_wait_tables *tables, uint32_t row,
			     struct metric_writer *writer)
{
	const struct downstream_key *key = &tables->names[row].key;
	const struct request_waits_of of = requests_of(key->entity);
	char peer[REQUEST_ADDRESS_SIZE];
	uint64_t ns = 0;

	for (unsigned lane = 0; lane < tables->lanes; lane++)
		ns += load(&tables->downstream_ns[(size_t)lane * tables->downstreams + row]);
	if (!ns || key->entity >= tables->entities)
		return;
	request_address(peer, key->address, key->port);
	write_wait(writer, &of, REQUEST_OUTBOUND, peer, ns);
}

void request_waits_write(const struct request_wait_tables *tables, struct metric_writer *writer)
{
	for (uint32_t entity = 0; entity < tables->entities; entity++)
		write_entity(tables, entity, writer);
	for (uint32_t row = 1; row < tables->downstreams; row++)
		if (tables->names[row].key.port)
			write_downstream(tables, row, writer);
}

/* ---- of decoded calls ---- */

/* NULL: the kernel side has named it otherwise since, or has no name for it. */
static const struct downstream_name *name_of(const struct request_wait_tables *tables,
					     uint32_t entity, uint32_t row)
{
	if (!tables || !tables->names || !row || row >= tables->downstreams)
		return NULL;
	if (!tables->names[row].key.port || tables->names[row].key.entity != entity)
		return NULL;
	return &tables->names[row];
}

/* Those beyond the room for them are together in the first. */
static void add_downstream(struct request_account *sum, const struct task_downstream *downstream)
{
	unsigned i = TASK_DOWNSTREAMS - 1;

	while (i && (!downstream->row ||
		     (sum->downstreams[i].ns && sum->downstreams[i].row != downstream->row)))
		i--;
	if (i)
		sum->downstreams[i].row = downstream->row;
	sum->downstreams[i].ns += downstream->ns;
}

static uint64_t take(uint64_t ns, uint64_t *left_ns)
{
	uint64_t taken = ns < *left_ns ? ns : *left_ns;

	*left_ns -= taken;
	return taken;
}

void request_waits_add(struct request_account *sum, const struct request_account *of,
		       uint64_t duration_ns, unsigned times)
{
	uint64_t left_ns = duration_ns, outbound_ns = 0;

	for (unsigned reason = 0; reason < REQUEST_REASONS; reason++) {
		uint64_t ns = take(of->reasons_ns[reason], &left_ns);

		sum->reasons_ns[reason] += ns * times;
		if (reason == REQUEST_OUTBOUND)
			outbound_ns = ns;
	}
	sum->reasons_ns[REQUEST_UNATTRIBUTED] += left_ns * times;
	for (unsigned i = 0; i < TASK_DOWNSTREAMS; i++) {
		struct task_downstream downstream = of->downstreams[i];

		downstream.ns =
			downstream.ns > 0 ? (__s64)take((uint64_t)downstream.ns, &outbound_ns) : 0;
		downstream.ns *= times;
		if (downstream.ns)
			add_downstream(sum, &downstream);
	}
	sum->downstreams[0].ns += (__s64)(outbound_ns * times);
}

void request_waits_write_calls(const struct request_wait_tables *tables,
			       struct metric_writer *writer, const struct request_waits_of *calls)
{
	const struct request_account *account = calls->account;

	for (unsigned reason = 0; reason < REQUEST_REASONS; reason++)
		if (reason != REQUEST_OUTBOUND)
			write_wait(writer, calls, reason, "", account->reasons_ns[reason]);
	for (unsigned i = 0; i < TASK_DOWNSTREAMS; i++) {
		const struct downstream_name *name =
			name_of(tables, calls->entity, account->downstreams[i].row);
		char peer[REQUEST_ADDRESS_SIZE] = OTHER;

		if (name)
			request_address(peer, name->key.address, name->key.port);
		write_wait(writer, calls, REQUEST_OUTBOUND, peer,
			   (uint64_t)account->downstreams[i].ns);
	}
}

void request_waits_describe(const struct request_wait_tables *tables, uint32_t entity,
			    const struct request_account *account,
			    struct request_detail *ret_detail)
{
	*ret_detail = (struct request_detail){ 0 };
	memcpy(ret_detail->reasons_ns, account->reasons_ns, sizeof(ret_detail->reasons_ns));
	for (unsigned i = 1; i < TASK_DOWNSTREAMS; i++) {
		const struct downstream_name *name =
			name_of(tables, entity, account->downstreams[i].row);

		if (!name || account->downstreams[i].ns <= 0)
			continue;
		ret_detail->downstreams[i - 1].ns = (__u64)account->downstreams[i].ns;
		ret_detail->downstreams[i - 1].name = *name;
	}
}

bool request_waits_forget(const struct request_wait_tables *tables, uint32_t entity,
			  void (*give_back)(void *context, uint32_t row,
					    const struct downstream_key *key),
			  void *context)
{
	bool had_some = false;

	for (unsigned lane = 0; lane < tables->lanes && entity < tables->entities; lane++)
		memset(&tables->waits[(size_t)lane * tables->entities + entity], 0,
		       sizeof(*tables->waits));
	for (uint32_t row = 1; row < tables->downstreams; row++) {
		const struct downstream_key key = tables->names[row].key;

		if (!key.port || key.entity != entity)
			continue;
		for (unsigned lane = 0; lane < tables->lanes; lane++)
			tables->downstream_ns[(size_t)lane * tables->downstreams + row] = 0;
		memset(&tables->names[row], 0, sizeof(*tables->names));
		give_back(context, row, &key);
		had_some = true;
	}
	return had_some;
}
