/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holds two programs that do nothing (bpf/floor.bpf.c) at the entry and the exit of every system call, until it is
 * interrupted. Says "Tracing" once they are there.
 */
#include <stdio.h>
#include <unistd.h>
#include "floor.skel.h"

int main(void)
{
	struct floor_bpf *skeleton = floor_bpf__open_and_load();

	if (!skeleton || floor_bpf__attach(skeleton)) {
		perror("floor");
		return 1;
	}
	puts("Tracing system calls with nothing");
	fflush(stdout);
	pause(); /* what is attached goes with the process */
	return 0;
}
