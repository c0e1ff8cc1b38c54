// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes from the Kubernetes API or from a container runtime: as a list, as a watch in pieces, as a file. The first
 * byte says how long the pieces are. Whole values come out the same in pieces as at once.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "agent/json_stream.h"
#include "agent/pod.h"
#include "agent/runtime_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int take(void *context, const char *key, json_t *value)
{
	static const char *const labels[] = { "app", NULL };
	struct pod *pod = pod_parse(value, labels);

	if (pod && (!*pod->name || !*pod->uid || strlen(pod->labels[0]) > 63))
		abort();
	pod_put(pod);
	++*(size_t *)context;
	return 0;
}

static size_t count_values(enum json_stream_shape shape, const char *data, size_t size,
			   size_t piece, int *ret_err)
{
	size_t n = 0;
	struct json_stream *stream = json_stream_new(take, &n);

	if (!stream)
		abort();
	json_stream_start(stream, shape);
	*ret_err = 0;
	for (size_t at = 0; at < size && !*ret_err; at += piece)
		*ret_err =
			json_stream_feed(stream, data + at, size - at < piece ? size - at : piece);
	json_stream_free(stream);
	return n;
}

static void read_file_of_runtime(const char *data, size_t size)
{
	static const runtime_reader readers[] = { runtime_read_runc, runtime_read_oci,
						  runtime_read_docker };
	json_t *json = json_load_bounded(data, size);

	for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
		struct runtime_container container = {};

		if (readers[i](json, &container) && container.path[0] && container.path[0] != '/')
			abort();
	}
	json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;

	if (!size)
		return 0;
	for (int shape = JSON_STREAM_VALUES; shape <= JSON_STREAM_LIST; shape++) {
		int whole_err, err;
		size_t whole = count_values((enum json_stream_shape)shape, text, size - 1, size,
					    &whole_err);

		if (count_values((enum json_stream_shape)shape, text, size - 1, 1 + data[0] % 31,
				 &err) != whole ||
		    err != whole_err)
			abort();
	}
	read_file_of_runtime(text, size - 1);
	return 0;
}
