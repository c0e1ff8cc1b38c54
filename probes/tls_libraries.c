// SPDX-License-Identifier: Apache-2.0
/* Which files have the calls of a TLS library; see tls_libraries.h. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "agent/hash.h"
#include "probes/tls_libraries.h"
#include "probes/tls_mappings.h"

#define NS_PER_S       1000000000ULL
#define FIRST_GAP_NS   NS_PER_S
#define LAST_GAP_NS    (60 * NS_PER_S)
#define GONE_AFTER_NS  (180 * NS_PER_S) /* three times as long as a process is not looked at */
#define SCAN_PROCESSES 64 /* looked at in one go … */
#define SCAN_AT_FIRST  512 /* … but for the first */
#define MAX_PROCESSES  65536
#define MAX_LINES      65536 /* of a process's table of mappings */
#define MOUNTINFO_MAX  (1 << 20)
/* Read of files in one go, at most and about; of the rest of a process's files when it is looked at again. */
#define SCAN_BYTES (256U << 20)
#define ALLOCATION                                                                                 \
	32 /* bytes: what an element takes beside itself, its place in the table included */

struct process {
	struct tls_process shown;
	uint64_t next_ns, gap_ns;
	uint32_t turn; /* of the last scan that saw it */
	UT_hash_handle hh;
};

/* A file that was looked into and has none of the calls. */
struct examined {
	struct tls_file file;
	uint64_t seen_ns;
	UT_hash_handle hh;
};

struct tls_libraries {
	const char *proc;
	pid_t own_pid; /* the agent's: it is not looked at */
	struct process *processes;
	struct examined *examined;
	struct tls_library known[TLS_LIBRARIES_MAX];
	size_t n_known;
	uint32_t turn;
	uint64_t bytes_left; /* of SCAN_BYTES */
	struct tls_libraries_gone gone;
	struct tls_libraries_counts counts;
};

/* ---- files ---- */

static bool find_in_table(const char *path, dev_t device, char type[TLS_FILESYSTEM_TYPE])
{
	char *text = malloc(MOUNTINFO_MAX);
	size_t size = 0;
	ssize_t n;
	bool found;
	int fd = text ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0) {
		free(text);
		return false;
	}
	while (size < MOUNTINFO_MAX && (n = read(fd, text + size, MOUNTINFO_MAX - size)) > 0)
		size += (size_t)n;
	close(fd);
	found = tls_filesystem_find(text, size, device, type);
	free(text);
	return found;
}

/* What a process has mapped may lie where each access asks another process of the same user, who need not answer. */
static bool is_safe_to_open(const struct tls_libraries *libraries, pid_t pid, dev_t device)
{
	char path[64], type[TLS_FILESYSTEM_TYPE];

	snprintf(path, sizeof(path), "%s/%d/mountinfo", libraries->proc, (int)pid);
	if (find_in_table(path, device, type))
		return !tls_filesystem_may_stall(type);
	/* Beneath an overlay there is a filesystem that a container does not see. */
	return find_in_table("/proc/1/mountinfo", device, type) && !tls_filesystem_may_stall(type);
}

/* The very file that is mapped, or what has its path now and is the same. -1: neither is to be had. */
static int open_mapped(const struct tls_libraries *libraries, pid_t pid,
		       const struct tls_mapping *mapping)
{
	char path[4096 + 64];
	struct stat status;
	int fd;

	if (!is_safe_to_open(libraries, pid, mapping->file.device))
		return -1;
	snprintf(path, sizeof(path), "%s/%d/map_files/%llx-%llx", libraries->proc, (int)pid,
		 (unsigned long long)mapping->start, (unsigned long long)mapping->end);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && mapping->path_length < 4096) {
		snprintf(path, sizeof(path), "%s/%d/root%.*s", libraries->proc, (int)pid,
			 (int)mapping->path_length, mapping->path);
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
		if (fd >= 0 && (fstat(fd, &status) || status.st_ino != mapping->file.inode)) {
			close(fd);
			return -1;
		}
	}
	if (fd >= 0 && (fstat(fd, &status) || !S_ISREG(status.st_mode))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* ---- what is known ---- */

static bool is_same(const struct tls_file *a, const struct tls_file *b)
{
	return a->device == b->device && a->inode == b->inode;
}

struct tls_library *tls_libraries_find(struct tls_libraries *libraries, const struct tls_file *file)
{
	for (size_t i = 0; i < libraries->n_known; i++)
		if (is_same(&libraries->known[i].file, file))
			return &libraries->known[i];
	return NULL;
}

/* Seen again; false for one that was not looked into. */
static bool recall(struct tls_libraries *libraries, const struct tls_file *file, uint64_t now_ns)
{
	struct tls_library *library = tls_libraries_find(libraries, file);
	struct examined *examined;

	if (library) {
		library->seen_ns = now_ns;
		return true;
	}
	HASH_FIND(hh, libraries->examined, file, sizeof(*file), examined);
	if (examined)
		examined->seen_ns = now_ns;
	return examined != NULL;
}

static void forget_examined(struct tls_libraries *libraries, struct examined *examined)
{
	HASH_DEL(libraries->examined, examined);
	free(examined);
}

static void note_examined(struct tls_libraries *libraries, const struct tls_file *file,
			  uint64_t now_ns)
{
	struct examined *examined;

	if (HASH_COUNT(libraries->examined) >= TLS_LIBRARIES_EXAMINED)
		return; /* looked into again then */
	examined = calloc(1, sizeof(*examined));
	if (!examined)
		return;
	examined->file = *file;
	examined->seen_ns = now_ns;
	HASH_ADD(hh, libraries->examined, file, sizeof(*file), examined);
	if (!HASH_TOOK(examined))
		free(examined);
}

static void forget_library(struct tls_libraries *libraries, size_t i)
{
	struct tls_library *library = &libraries->known[i];

	if (libraries->gone.library)
		libraries->gone.library(libraries->gone.context, library);
	close(library->fd);
	*library = libraries->known[--libraries->n_known];
}

/* What it may take to open a file, and to read the tables of one so large. */
static void count_bytes(struct tls_libraries *libraries, int fd)
{
	uint64_t bytes = MOUNTINFO_MAX, most = 2 * (uint64_t)TLS_SYMBOLS_MAX_BYTES;
	struct stat status;

	if (fd >= 0 && !fstat(fd, &status))
		bytes += (uint64_t)status.st_size < most ? (uint64_t)status.st_size : most;
	libraries->bytes_left -= bytes < libraries->bytes_left ? bytes : libraries->bytes_left;
}

static void examine(struct tls_libraries *libraries, pid_t pid, const struct tls_mapping *mapping,
		    uint64_t now_ns)
{
	struct tls_library *library = &libraries->known[libraries->n_known];
	const char *name;
	size_t length;
	int fd;

	if (libraries->n_known == TLS_LIBRARIES_MAX) {
		libraries->counts.full++;
		return;
	}
	fd = open_mapped(libraries, pid, mapping);
	count_bytes(libraries, fd);
	if (fd < 0)
		libraries->counts.unreadable++;
	if (fd < 0 || tls_symbols_find(fd, library->offsets) <= 0) {
		if (fd >= 0)
			close(fd);
		note_examined(libraries, &mapping->file, now_ns);
		return;
	}
	name = tls_last_part(mapping->path, mapping->path_length, &length);
	library->file = mapping->file;
	library->seen_ns = now_ns;
	library->fd = fd;
	library->state = TLS_LIBRARY_FOUND;
	library->data = NULL;
	snprintf(library->name, sizeof(library->name), "%.*s", (int)length, name);
	libraries->n_known++;
}

static void expire(struct tls_libraries *libraries, uint64_t now_ns)
{
	struct examined *examined, *next;

	for (size_t i = libraries->n_known; i-- > 0;)
		if (now_ns - libraries->known[i].seen_ns > GONE_AFTER_NS)
			forget_library(libraries, i);
	HASH_ITER(hh, libraries->examined, examined, next)
	if (now_ns - examined->seen_ns > GONE_AFTER_NS)
		forget_examined(libraries, examined);
}

/* ---- processes ---- */

static void read_name(const struct tls_libraries *libraries, struct tls_process *process)
{
	char path[64];
	ssize_t n = -1;
	int fd;

	snprintf(path, sizeof(path), "%s/%d/comm", libraries->proc, (int)process->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, process->name, sizeof(process->name) - 1);
		close(fd);
	}
	process->name[n > 0 ? n : 0] = '\0';
	process->name[strcspn(process->name, "\n")] = '\0';
}

static void note_file(struct tls_libraries *libraries, struct tls_process *process,
		      const struct tls_file *file)
{
	for (size_t i = 0; i < process->n_files; i++)
		if (is_same(&process->files[i], file))
			return; /* it is mapped in pieces */
	if (process->n_files < TLS_PROCESS_FILES && tls_libraries_find(libraries, file))
		process->files[process->n_files++] = *file;
}

/* Returns false for a thread of the kernel's, or what has just ended: it has no program. */
static bool look_at(struct tls_libraries *libraries, struct tls_process *process, uint64_t now_ns)
{
	const pid_t pid = process->pid;
	char path[64], program[4096], line[4096 + 128];
	size_t program_length;
	ssize_t n;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%d/exe", libraries->proc, (int)pid);
	n = readlink(path, program, sizeof(program));
	if (n <= 0)
		return false;
	program_length = (size_t)n;
	snprintf(path, sizeof(path), "%s/%d/maps", libraries->proc, (int)pid);
	file = fopen(path, "re");
	libraries->counts.processes++;
	read_name(libraries, process);
	process->n_files = 0;
	for (int i = 0; file && i < MAX_LINES && fgets(line, sizeof(line), file); i++) {
		struct tls_mapping mapping;
		bool is_program;

		if (!tls_mapping_parse(line, strcspn(line, "\n"), &mapping) ||
		    !mapping.is_executable)
			continue;
		is_program = mapping.path_length == program_length &&
			     !memcmp(mapping.path, program, program_length);
		if (!is_program && !tls_library_is_named(mapping.path, mapping.path_length))
			continue;
		if (!recall(libraries, &mapping.file, now_ns)) {
			if (!libraries->bytes_left)
				break;
			examine(libraries, pid, &mapping, now_ns);
		}
		note_file(libraries, process, &mapping.file);
	}
	if (file)
		fclose(file);
	return true;
}

static struct process *find_process(struct tls_libraries *libraries, pid_t pid, uint64_t now_ns)
{
	struct process *process;

	HASH_FIND(hh, libraries->processes, &pid, sizeof(pid), process);
	if (process || HASH_COUNT(libraries->processes) >= MAX_PROCESSES)
		return process;
	process = calloc(1, sizeof(*process));
	if (!process)
		return NULL;
	process->shown.pid = pid;
	process->next_ns = now_ns;
	process->gap_ns = FIRST_GAP_NS;
	HASH_ADD(hh, libraries->processes, shown.pid, sizeof(process->shown.pid), process);
	if (HASH_TOOK(process))
		return process;
	free(process);
	return NULL;
}

static void forget_process(struct tls_libraries *libraries, struct process *process)
{
	HASH_DEL(libraries->processes, process);
	if (libraries->gone.process)
		libraries->gone.process(libraries->gone.context, &process->shown);
	free(process);
}

/* Those that are gone: a number may be another process's by then. */
static void forget_ended(struct tls_libraries *libraries)
{
	struct process *process, *next;

	HASH_ITER(hh, libraries->processes, process, next)
	if (process->turn != libraries->turn)
		forget_process(libraries, process);
}

bool tls_libraries_scan(struct tls_libraries *libraries, uint64_t now_ns)
{
	DIR *directory = opendir(libraries->proc);
	const struct dirent *entry;
	int n = 0, most;

	libraries->turn++;
	libraries->bytes_left = SCAN_BYTES;
	most = libraries->turn == 1 ? SCAN_AT_FIRST : SCAN_PROCESSES;
	while (directory && (entry = readdir(directory))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		struct process *process = pid > 0 ? find_process(libraries, pid, now_ns) : NULL;

		if (!process)
			continue;
		process->turn = libraries->turn;
		if (process->next_ns > now_ns || n == most || !libraries->bytes_left ||
		    pid == libraries->own_pid)
			continue;
		n += look_at(libraries, &process->shown, now_ns);
		process->next_ns = now_ns + process->gap_ns;
		if (process->gap_ns < LAST_GAP_NS)
			process->gap_ns *= 2;
	}
	if (directory)
		closedir(directory);
	forget_ended(libraries);
	expire(libraries, now_ns);
	for (size_t i = 0; i < libraries->n_known; i++)
		if (libraries->known[i].state == TLS_LIBRARY_FOUND)
			return true;
	return false;
}

/* ---- life ---- */

struct tls_libraries *tls_libraries_new(const char *proc)
{
	struct tls_libraries *libraries = calloc(1, sizeof(*libraries));

	if (!libraries)
		return NULL;
	libraries->proc = proc;
	libraries->own_pid = getpid();
	return libraries;
}

void tls_libraries_free(struct tls_libraries *libraries)
{
	struct process *process, *next_process;
	struct examined *examined, *next_examined;

	if (!libraries)
		return;
	HASH_ITER(hh, libraries->processes, process, next_process)
	forget_process(libraries, process);
	while (libraries->n_known)
		forget_library(libraries, libraries->n_known - 1);
	HASH_ITER(hh, libraries->examined, examined, next_examined)
	forget_examined(libraries, examined);
	free(libraries);
}

void tls_libraries_on_gone(struct tls_libraries *libraries, const struct tls_libraries_gone *gone)
{
	libraries->gone = *gone;
}

void tls_libraries_each_process(struct tls_libraries *libraries,
				void (*call)(void *context, struct tls_process *process),
				void *context)
{
	struct process *process, *next;

	HASH_ITER(hh, libraries->processes, process, next)
	if (process->shown.n_files)
		call(context, &process->shown);
}

struct tls_library *tls_libraries_known(struct tls_libraries *libraries, size_t *ret_n)
{
	*ret_n = libraries->n_known;
	return libraries->known;
}

const struct tls_libraries_counts *tls_libraries_counts(const struct tls_libraries *libraries)
{
	return &libraries->counts;
}

size_t tls_libraries_bytes(const struct tls_libraries *libraries)
{
	return sizeof(*libraries) +
	       HASH_COUNT(libraries->processes) * (sizeof(struct process) + ALLOCATION) +
	       HASH_COUNT(libraries->examined) * (sizeof(struct examined) + ALLOCATION);
}
