/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which files of running processes have the calls of a TLS library, and which processes have such files: libssl and libgnutls by their names, as mapped, and programs
 * that have one of these in themselves. Files are told apart by what they are on disk, so one library of many
 * containers is one, whatever path it has in each. Loop thread only.
 *
 * A process is looked at when it is new, again after 1, 2, 4 … seconds as it may begin to use a library or become another program, and
 * from then on once a minute; so many in one go that it takes some milliseconds.
 */
#ifndef LEADLINE_TLS_LIBRARIES_H
#define LEADLINE_TLS_LIBRARIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "probes/tls_mappings.h"
#include "probes/tls_symbols.h"

#define TLS_LIBRARIES_MAX      128 /* files with such calls known at a time */
#define TLS_LIBRARY_NAME       48
#define TLS_LIBRARIES_EXAMINED 2048 /* files known not to have any */

enum tls_library_state {
	TLS_LIBRARY_FOUND, /* nothing has been done about it */
	TLS_LIBRARY_HOOKED, /* in all processes */
	TLS_LIBRARY_IN_PART, /* in chosen ones */
	TLS_LIBRARY_FAILED, /* it cannot be hooked */
};

struct tls_library {
	struct tls_file file;
	char name[TLS_LIBRARY_NAME]; /* the last part of a path it has */
	uint64_t seen_ns; /* when a process was last seen to have it mapped */
	uint64_t offsets[TLS_FUNCTIONS]; /* tls_symbols.h */
	int fd; /* of the file */
	enum tls_library_state state; /* the caller's to change, like … */
	void *data; /* … this */
};

/* A process that has such files mapped, as last looked at. */
#define TLS_PROCESS_NAME 16
#define TLS_PROCESS_FILES                                                                          \
	4 /* beyond, they are told where all processes are, not where this one is chosen */
struct tls_process {
	pid_t pid;
	char name[TLS_PROCESS_NAME]; /* of its program; "" when it has just ended */
	struct tls_file files[TLS_PROCESS_FILES];
	size_t n_files;
	void *data; /* the caller's */
};

struct tls_libraries;

/* `proc`: where processes are found, "/proc". NULL: no memory. */
struct tls_libraries *tls_libraries_new(const char *proc);
/* Forgets all, as below. NULL is fine. */
void tls_libraries_free(struct tls_libraries *libraries);

/* Looks at processes whose turn it is. Returns whether there are libraries that nothing has been done about. */
bool tls_libraries_scan(struct tls_libraries *libraries, uint64_t now_ns);
/* Called with each library that is forgotten, as no process has had it for some minutes, and each process that has ended. */
struct tls_libraries_gone {
	void (*library)(void *context, struct tls_library *library);
	void (*process)(void *context, struct tls_process *process);
	void *context;
};
void tls_libraries_on_gone(struct tls_libraries *libraries, const struct tls_libraries_gone *gone);

/* All that are known; n of them. */
struct tls_library *tls_libraries_known(struct tls_libraries *libraries, size_t *ret_n);

struct tls_library *tls_libraries_find(struct tls_libraries *libraries,
				       const struct tls_file *file); /* NULL: not known */
/* Calls back with each process that has one of them. */
void tls_libraries_each_process(struct tls_libraries *libraries,
				void (*call)(void *context, struct tls_process *process),
				void *context);

/* Memory that it takes now. */
size_t tls_libraries_bytes(const struct tls_libraries *libraries);

struct tls_libraries_counts {
	uint64_t processes; /* looked at so far */
	uint64_t
		unreadable; /* files that could not be opened, or not safely: on filesystems that may stall */
	uint64_t full; /* libraries without room */
};
const struct tls_libraries_counts *tls_libraries_counts(const struct tls_libraries *libraries);

#endif
