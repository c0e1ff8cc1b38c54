// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as each of the files of /proc that are read: a container may show its own over them. What is refused leaves
 * the result untouched, what comes out is bounded and terminated.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "probes/host_mounts.h"
#include "probes/host_parse.h"
#include "probes/softnet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Calls the parser with a result that is known, and checks that a refusal has not touched it. */
#define PARSE(parser, type, text, size)                                                            \
	do {                                                                                       \
		type result, untouched;                                                            \
		memset(&result, 0x5a, sizeof(result));                                             \
		memcpy(&untouched, &result, sizeof(result));                                       \
		if (parser(text, size, &result) && memcmp(&result, &untouched, sizeof(result)))    \
			abort();                                                                   \
	} while (0)

static void read_interfaces(const char *text, size_t size)
{
	struct host_interface interface;
	size_t cursor = 0, before = 0;

	while (host_parse_interface(text, size, &cursor, &interface)) {
		if (cursor <= before || cursor > size || !*interface.name ||
		    !memchr(interface.name, '\0', sizeof(interface.name)))
			abort();
		before = cursor;
	}
}

static void read_mounts(const char *text, size_t size)
{
	static const struct host_mount_rules rules = {
		.rootfs = "/host",
		.below_rootfs = true,
		.exclude_types = "tmpfs\0",
		.exclude_mountpoints = "/x*\0",
	};
	struct host_mount *mounts;
	size_t n, dropped;

	if (host_mounts_parse(text, size, &rules, &mounts, &n, &dropped))
		abort();
	if (n > HOST_MAX_MOUNTS)
		abort();
	for (size_t i = 0; i < n; i++)
		if (!mounts[i].device || !mounts[i].type || !mounts[i].path ||
		    mounts[i].mountpoint[0] != '/')
			abort();
	host_mounts_free(mounts, n);
}

static void read_softnet(const char *text)
{
	struct softnet softnet = {};

	for (int i = 0; i < 2; i++)
		softnet_update(&softnet, text);
	if (softnet.n_cpus > SOFTNET_MAX_CPUS)
		abort();
	softnet_free(&softnet);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *exact = malloc(size ? size : 1), *text = malloc(size + 1);
	uint64_t open_files, limit;

	if (!exact || !text)
		abort();
	memcpy(exact, data, size);
	memcpy(text, data, size);
	text[size] = '\0';
	PARSE(host_parse_stat, struct host_stat, exact, size);
	PARSE(host_parse_meminfo, struct host_memory, exact, size);
	PARSE(host_parse_pressure, struct host_pressure, exact, size);
	host_parse_file_nr(exact, size, &open_files, &limit);
	read_interfaces(exact, size);
	read_mounts(exact, size);
	read_softnet(text);
	free(exact);
	free(text);
	return 0;
}
