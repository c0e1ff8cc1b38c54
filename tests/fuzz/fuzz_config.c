// SPDX-License-Identifier: Apache-2.0
/*
 * Any bytes as a configuration file: refused with a message or loaded, and what is loaded prints
 * and reads back equal.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "agent/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct option_desc own[] = {
	{ .key = "listen", .type = OPTION_ADDRESS, .fallback = ":1", .help = "x" },
	{ .key = "interval", .type = OPTION_DURATION, .fallback = "10s", .min = 0.1, .max = 3600 },
	{ .key = "log.level", .type = OPTION_STRING, .fallback = "INFO", .choices = "DEBUG|INFO" },
	{ .key = "log.file", .type = OPTION_STRING, .fallback = "" },
	{ .key = "health.cpu.degraded", .type = OPTION_NUMBER, .fallback = "70", .max = 100 },
	{ .key = "buffer", .type = OPTION_BYTES, .fallback = "8MiB" },
	{ .key = NULL },
};

static const struct option_desc probe[] = {
	{ .key = "enabled", .type = OPTION_BOOL, .fallback = "true" },
	{ .key = "rows", .type = OPTION_INT, .fallback = "64", .min = 16, .max = 4096 },
	{ .key = NULL },
};

static const struct option_table tables[] = {
	OPTION_TABLE("", own),
	OPTION_TABLE("probes.sched", probe),
	OPTION_TABLE("probes.tcp", probe),
	{ .prefix = NULL },
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buffer errors = { 0 }, text = { 0 };
	struct config *config = NULL, *again = NULL;

	if (config_parse(tables, "fuzz", data, size, &config, &errors)) {
		if (!errors.size || config)
			abort();
	} else {
		config_dump(config, &text);
		if (config_parse(tables, "again", text.data, text.size, &again, &errors) ||
		    config_changes(config, again, NULL, 0))
			abort();
	}
	buffer_free(&errors);
	buffer_free(&text);
	config_free(config);
	config_free(again);
	return 0;
}
