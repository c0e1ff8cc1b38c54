// SPDX-License-Identifier: Apache-2.0
/*
 * Memory runs out at every allocation of a decoder, one after the other, while it follows what real clients and servers
 * said: it loses calls, and counts them, but nothing else.
 */
#include "tests/harness/harness.h"
#include <errno.h>
#include "tests/harness/out_of_memory.h"
#include "tests/harness/protocol_run.h"

#define CUT 7 /* bytes a piece, so that there is always a rest to keep */

/* The harness takes memory for each piece, too: what is fed is at hand before. */
static struct {
	const struct protocol *protocol;
	struct piece {
		bool from_client;
		size_t size;
		uint8_t bytes[CUT];
	} pieces[4096];
	size_t n;
} world;

static void keep_piece(void *connection, const struct protocol_piece *piece,
		       struct protocol_calls *calls)
{
	struct piece *kept = &world.pieces[world.n++];

	assert_true(world.n < sizeof(world.pieces) / sizeof(world.pieces[0]));
	kept->from_client = piece->from_client;
	kept->size = piece->size;
	memcpy(kept->bytes, piece->head, piece->size);
}

static void *keep_open(bool midway)
{
	return malloc(1);
}

static void keep(const char *path)
{
	static const struct protocol keeper = { .open = keep_open,
						.close = free,
						.feed = keep_piece };
	static struct protocol_run run;

	world.n = 0;
	protocol_run_begin(&run, &keeper, false);
	protocol_run_capture(&run, path, CUT);
	protocol_run_end(&run);
	assert_int_not_equal(world.n, 0);
}

static void ignore(void *context, const struct protocol_call *call)
{
}

static int follow(void **ret_made)
{
	const struct protocol_counts *counts;
	struct protocol_calls *calls = protocol_calls_new(ignore, NULL, NULL);
	void *connection = world.protocol->open(false);
	int err = calls && connection ? 0 : -ENOMEM;

	for (size_t i = 0; i < world.n && !err; i++) {
		const struct protocol_piece piece = {
			.ns = 1000 + i,
			.size = world.pieces[i].size,
			.head = world.pieces[i].bytes,
			.head_size = world.pieces[i].size,
			.from_client = world.pieces[i].from_client,
		};

		world.protocol->feed(connection, &piece, calls);
	}
	if (!err) {
		protocol_calls_close(calls, 1000 + world.n);
		counts = protocol_calls_counts(calls);
		assert_int_equal(counts->begun,
				 counts->ended + counts->abandoned + counts->forgotten);
	}
	world.protocol->close(connection);
	protocol_calls_free(calls);
	return err;
}

static void calls_are_lost_and_nothing_else(void **state)
{
	static const struct {
		const struct protocol *protocol;
		const char *path;
	} captures[] = {
		{ &protocol_redis, "redis/resp3-tracking-monitor" },
		{ &protocol_redis, "redis/transaction-subscriptions" },
		{ &protocol_postgresql, "postgresql/select-prepared" },
		{ &protocol_postgresql, "postgresql/pipeline" },
		{ &protocol_dns_tcp, "dns_tcp/dig-keepopen" },
		{ &protocol_mysql, "mysql/node-pipelined" },
		{ &protocol_http2, "http2/grpc-python" },
	};

	for (size_t i = 0; i < sizeof(captures) / sizeof(captures[0]); i++) {
		const struct allocating following = { captures[i].path, follow, NULL,
						      .makes_do = true };

		world.protocol = captures[i].protocol;
		keep(captures[i].path);
		check_out_of_memory(&following);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(calls_are_lost_and_nothing_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
