// SPDX-License-Identifier: Apache-2.0
/* See softnet.h; the format is that of softnet_seq_show() in the kernel's net/core/net-procfs.c. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "probes/softnet.h"

/* Columns, all hexadecimal. */
enum {
	COLUMN_DROPPED = 1,
	COLUMN_TIME_SQUEEZE = 2,
	COLUMN_CPU = 12, /* from 5.10 on; a CPU that is offline has no line */
	COLUMNS_MIN = 3,
	COLUMNS = 13,
};

/* The number of columns, at most COLUMNS; sets *end to the next line. */
static int parse_line(const char *line, uint32_t columns[COLUMNS], const char **end)
{
	const char *newline = strchrnul(line, '\n'), *at = line;
	int n = 0;

	while (n < COLUMNS && at < newline) {
		char *behind;
		unsigned long value = strtoul(at, &behind, 16);

		if (behind == at || behind > newline || value > UINT32_MAX)
			return -EBADMSG;
		columns[n++] = (uint32_t)value;
		at = behind + strspn(behind, " ");
	}
	*end = *newline ? newline + 1 : newline;
	return n;
}

static struct softnet_cpu *find_cpu(struct softnet *softnet, unsigned number)
{
	struct softnet_cpu *cpus;

	if (number < softnet->n_cpus)
		return &softnet->cpus[number];
	cpus = realloc(softnet->cpus, (number + 1) * sizeof(*cpus));
	if (!cpus)
		return NULL;
	memset(cpus + softnet->n_cpus, 0, (number + 1 - softnet->n_cpus) * sizeof(*cpus));
	softnet->cpus = cpus;
	softnet->n_cpus = number + 1;
	return &cpus[number];
}

int softnet_update(struct softnet *softnet, const char *text)
{
	unsigned line = 0;

	while (*text) {
		uint32_t columns[COLUMNS], number;
		struct softnet_cpu *cpu;
		int n = parse_line(text, columns, &text);

		if (n < COLUMNS_MIN)
			return -EBADMSG;
		number = n > COLUMN_CPU ? columns[COLUMN_CPU] : line;
		if (number >= SOFTNET_MAX_CPUS)
			return -EBADMSG;
		cpu = find_cpu(softnet, number);
		if (!cpu)
			return -ENOMEM;
		softnet->dropped += (uint32_t)(columns[COLUMN_DROPPED] - cpu->dropped);
		softnet->time_squeeze +=
			(uint32_t)(columns[COLUMN_TIME_SQUEEZE] - cpu->time_squeeze);
		cpu->dropped = columns[COLUMN_DROPPED];
		cpu->time_squeeze = columns[COLUMN_TIME_SQUEEZE];
		line++;
	}
	return 0;
}

void softnet_free(struct softnet *softnet)
{
	free(softnet->cpus);
	*softnet = (struct softnet){ 0 };
}
