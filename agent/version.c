/* SPDX-License-Identifier: Apache-2.0 */
/* The only object that is built anew when the commit changes. */
#include "agent/version.h"

const char leadline_version[] = LEADLINE_VERSION;
const char leadline_commit[] = LEADLINE_COMMIT;
const char leadline_compiler[] = __VERSION__;
