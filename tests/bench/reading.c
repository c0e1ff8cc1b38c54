/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holds hooks that read what sockets move and do nothing with it (reading.bpf.c), until it is interrupted. Says
 * "Tracing" once they are there.
 */
#include <stdio.h>
#include <unistd.h>
#include "reading.skel.h"

int main(void)
{
	struct reading_bpf *skeleton = reading_bpf__open_and_load();

	if (!skeleton || reading_bpf__attach(skeleton)) {
		perror("reading");
		return 1;
	}
	puts("Tracing what sockets move, for nothing");
	fflush(stdout);
	pause(); /* what is attached goes with the process */
	return 0;
}
