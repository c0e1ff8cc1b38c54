// SPDX-License-Identifier: Apache-2.0
/* Exchanges of connections that speak something else than HTTP/1, from rows to series; see requests_exchanges.h. */
#include <string.h>
#include "bpf/lib/task.h"
#include "probes/requests_exchanges.h"
#include "probes/requests_metrics.h"

static const char *const protocol_names[PREFIX_PROTOCOLS] = {
	[PREFIX_UNKNOWN] = "",	  [PREFIX_HTTP2] = "http2", [PREFIX_POSTGRESQL] = "postgresql",
	[PREFIX_MYSQL] = "mysql", [PREFIX_REDIS] = "redis", [PREFIX_DNS] = "dns",
	[PREFIX_DNS_TCP] = "dns", [PREFIX_TLS] = "tls",
};

const char *stream_protocol_name(unsigned protocol)
{
	return protocol < PREFIX_PROTOCOLS ? protocol_names[protocol] : "";
}

static uint64_t load(const __u64 *value)
{
	return __atomic_load_n(value, __ATOMIC_RELAXED);
}

/* Key of a row in use; false for one that is not. */
static bool row_key(const struct exchange_tables *tables, unsigned number,
		    struct exchange_key *ret_key)
{
	if (number < EXCHANGE_FIRST_ROW) {
		*ret_key = (struct exchange_key){
			.entity = ENTITY_OTHER,
			.protocol = (uint16_t)(number / REQUESTS_ROLES),
			.role = number % REQUESTS_ROLES,
		};
		return true;
	}
	if (!__atomic_load_n(&tables->key[number].word, __ATOMIC_ACQUIRE))
		return false;
	*ret_key = tables->key[number].key;
	return ret_key->role < REQUESTS_ROLES && ret_key->protocol < PREFIX_PROTOCOLS;
}

/* A row of all lanes together; returns the number of exchanges. A maximum starts anew. */
static uint64_t sum_row(const struct exchange_tables *tables, unsigned number,
			struct exchange_row *ret_sum)
{
	uint64_t n = 0;

	memset(ret_sum, 0, sizeof(*ret_sum));
	for (unsigned lane = 0; lane < tables->lanes; lane++) {
		struct exchange_row *row = &tables->row[(size_t)lane * tables->rows + number];
		uint64_t max_ns = load(&row->duration.max_ns);

		for (size_t i = 0; i < HIST_SLOTS; i++) {
			uint64_t here = load(&row->duration.slots[i]);

			ret_sum->duration.slots[i] += here;
			n += here;
		}
		ret_sum->duration.sum_ns += load(&row->duration.sum_ns);
		ret_sum->connections += load(&row->connections);
		ret_sum->connect_ns += load(&row->connect_ns);
		__atomic_store_n(&row->duration.max_ns, 0, __ATOMIC_RELAXED);
		if (max_ns > ret_sum->duration.max_ns)
			ret_sum->duration.max_ns = max_ns;
	}
	return n;
}

uint64_t exchange_tables_write(const struct exchange_tables *tables, struct metric_writer *writer)
{
	static const char *const roles[REQUESTS_ROLES] = { "server", "client" };
	const char *labels[2];
	uint64_t total = 0;

	for (unsigned number = 0; number < tables->rows; number++) {
		uint64_t slots[HIST_SLOTS], n;
		struct exchange_row sum;
		struct exchange_key key;

		if (!row_key(tables, number, &key))
			continue;
		n = sum_row(tables, number, &sum);
		labels[0] = roles[key.role];
		labels[1] = protocol_names[key.protocol];
		requests_write_connections(writer, key.entity, labels, sum.connections,
					   sum.connect_ns);
		if (!n)
			continue;
		total += n;
		for (size_t i = 0; i < HIST_SLOTS; i++)
			slots[i] = sum.duration.slots[i];
		metric_write_histogram(writer, &requests_exchange_metric, key.entity, labels,
				       &(struct histogram_view){
					       .schema = HIST_SCHEMA,
					       .min_index = HIST_MIN_INDEX,
					       .n_slots = HIST_SLOTS,
					       .slots = slots,
					       .sum = (double)sum.duration.sum_ns / 1e9,
					       .max = (double)sum.duration.max_ns / 1e9,
				       });
	}
	return total;
}

void exchange_tables_each_bytes(const struct exchange_tables *tables,
				void (*callback)(void *context, const struct exchange_bytes *bytes),
				void *context)
{
	for (unsigned number = 0; number < tables->rows; number++) {
		struct exchange_bytes bytes = { 0 };
		struct exchange_key key;

		if (!row_key(tables, number, &key))
			continue;
		for (unsigned lane = 0; lane < tables->lanes; lane++) {
			const struct exchange_row *row =
				&tables->row[(size_t)lane * tables->rows + number];

			bytes.bytes += load(&row->bytes);
			bytes.lost_bytes += load(&row->lost_bytes);
			for (int why = 0; why < STREAM_STOP_REASONS; why++)
				bytes.stopped_bytes[why] += load(&row->stopped_bytes[why]);
		}
		bytes.entity = key.entity;
		bytes.protocol = key.protocol;
		if (bytes.bytes)
			callback(context, &bytes);
	}
}

uint64_t exchange_tables_forget(const struct exchange_tables *tables, uint32_t entity,
				void (*give_back)(void *context, uint32_t row,
						  const struct exchange_key *key),
				void *context)
{
	uint64_t total = 0;

	for (unsigned number = EXCHANGE_FIRST_ROW; number < tables->rows; number++) {
		struct exchange_row sum;
		struct exchange_key key;

		if (!row_key(tables, number, &key) || key.entity != entity)
			continue;
		total += sum_row(tables, number, &sum);
		for (unsigned lane = 0; lane < tables->lanes; lane++)
			memset(&tables->row[(size_t)lane * tables->rows + number], 0,
			       sizeof(struct exchange_row));
		tables->key[number].word = 0;
		give_back(context, number, &key);
	}
	return total;
}
