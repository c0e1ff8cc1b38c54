/* SPDX-License-Identifier: Apache-2.0 */
/* Where it starts; all else is in the library, which the tests link as well. */
#include <unistd.h>
#include "agent/cli/cli.h"

int main(int argc, char **argv)
{
	return cli_run(argc, argv, (const char *const *)environ, stdout, stderr);
}
