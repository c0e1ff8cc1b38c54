/* SPDX-License-Identifier: Apache-2.0 */
/* Asks the running agent over HTTP. Blocks; for commands. */
#ifndef LEADLINE_CLI_ASK_H
#define LEADLINE_CLI_ASK_H

#include <stdio.h>
#include "agent/buffer.h"
#include "agent/config.h"

#define ASK_ERROR_SIZE	 256
#define ASK_ADDRESS_SIZE 96

struct ask_answer {
	struct buffer body;
	long status; /* of HTTP; 0: there was no answer */
	char error[ASK_ERROR_SIZE]; /* why, then */
};

/*
 * GET of a path from the agent that listens where the configuration says, within health.timeout. ret_address, of
 * ASK_ADDRESS_SIZE, is whom it asked. ask_answer_free() in any case.
 */
void ask_agent(const struct config *config, const char *path, char *ret_address,
	       struct ask_answer *ret_answer);
void ask_answer_free(struct ask_answer *answer);
/* What came over the network goes to a terminal: nothing in it may steer that. */
void ask_print_text(FILE *out, const char *text);

#endif
