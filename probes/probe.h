/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a probe is: a const descriptor. The core (agent/lifecycle.c) runs every probe through the same
 * life: open → configure → select hooks → load → prepare → attach → start → (on_event | collect)* → detach → destroy.
 * A probe file includes this header, metric.h and its own wire header, nothing else of the agent.
 * All operations run on the loop thread; an absent one does nothing.
 *
 * Adding a probe: bpf/NAME.bpf.c, bpf/NAME.h, probes/NAME.c, tests/unit/test_NAME.c, a line in probes.def.
 */
#ifndef LEADLINE_PROBE_H
#define LEADLINE_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "agent/metric.h"
#include "agent/option.h"

struct bpf_object;
struct probe; /* a running instance, owned by the core */

enum hook_kind {
	HOOK_NONE,
	HOOK_TP_BTF, /* BTF-typed raw tracepoint; target: tracepoint name */
	HOOK_FENTRY, /* target: kernel function */
	HOOK_FEXIT,
	HOOK_KPROBE,
	HOOK_KRETPROBE,
	HOOK_TRACEPOINT, /* classic; target: group/name */
	HOOK_ITER, /* target: iterator name. Attached by the core, run by the probe with probe_run_iterator() */
	HOOK_ITER_MAP, /* the same over the elements of a map, which not all kernels allow */
	/* In user space; target: what it is for. Attached by the probe, where it finds that: probe_attach_uprobes() */
	HOOK_UPROBE_MULTI, /* at many places at once */
	HOOK_UPROBE, /* at each of them */
	HOOK_KINDS,
};

struct hook_alternative {
	const char *program; /* name of the BPF program */
	enum hook_kind kind;
	const char *target;
	unsigned min_args; /* tp_btf: arguments its prototype must have; 0: any */
	unsigned max_args; /* tp_btf: and not more, where they mean something else then; 0: any */
};

#define HOOK_MAX_ALTERNATIVES 4

/* A point in the kernel the probe listens at. The first alternative the kernel offers is attached, the rest not loaded. */
struct hook {
	const char *name;
	bool required; /* without it the probe has failed; else it is degraded */
	const char *provides; /* what is missing without it, for people: "run-queue latency" */
	struct hook_alternative alternatives[HOOK_MAX_ALTERNATIVES];
	/* Functions, tracepoints that only some kernels have, and only these need the hook: elsewhere nothing is missing. */
	bool where_present;
	/* Its preferred alternative, where another hook has it, sees what this one would: needed only where that is not to be had. */
	const struct hook_alternative *unless;
	bool on_demand; /* attached only once the probe asks for it, by probe_demand_hook() */
	bool hot; /* may be taken away for a while to stay within the budget, and comes back: see struct probe_economy */
};

/*
 * What a probe with a map `budget_lanes` (bpf/lib/budget.bpf.h) costs, and what the budget (agent/budget.h) may do to one that costs
 * too much: nothing, if it neither samples nor has hot hooks. Its hooks that are `hot` are attached part of the time: those of one probe together, the
 * last of the table first, detached from the first on; the probe must bear what it misses meanwhile.
 */
struct probe_economy {
	unsigned value; /* the lower, the sooner it is given up altogether */
	unsigned max_shift; /* it can record one event in 2^max_shift; 0: it cannot sample */
	unsigned hooks_per_event; /* tracepoints that fire for each event in its lanes; 0 as 1 */
	bool is_call; /* an event is a system call, of whatever kind: the agent can make some to see what they cost */
	/* It samples connections, each in its turn, not events; in windows, all of them: see bpf/requests_sample.bpf.h. */
	bool by_connection;
	/* Its hooks are in user space, where each event is a trap; what it has too many of it leaves out by programs. */
	bool by_trap;
	unsigned typical_ns; /* of a recorded event, where the kernel does not let us measure */
	unsigned pass_ns; /* of one that is let pass; 0: as little as can be */
};

struct probe_desc {
	const char *name;
	const char *help; /* one sentence for doctor and the man page */
	/* Opens the embedded object. Absent: a probe without kernel side (host). */
	struct bpf_object *(*open)(struct probe *probe);
	void (*close)(struct probe *probe); /* frees what open made, the object included */
	const struct hook *hooks; /* ended by a NULL name */
	const struct metric_desc *const *metrics; /* NULL-terminated */
	const struct option_desc
		*options; /* keys without the "probes.NAME." prefix; `enabled` is the core's */

	int (*configure)(
		struct probe *probe); /* object open, not loaded: read-only data, map sizes */
	/* loaded, not attached: mappings, and what hooks must find from the first on, as free rows */
	int (*prepare)(struct probe *probe);
	int (*start)(struct probe *probe); /* attached: first passes, mappings */
	/* An event from the ring `events`, or one of `event_rings`. Must accept any bytes: -EBADMSG for what it does not know, counted. */
	int (*on_event)(struct probe *probe, const void *data, size_t size);
	int (*collect)(struct probe *probe, struct metric_writer *writer);
	/*
	 * For a while, as it costs too much: hooks that the probe has attached itself go away, but for some of its choice on what makes
	 * no more than so many events. Returns which share of the events they made is left.
	 */
	double (*pause)(struct probe *probe, double events_per_second);
	int (*resume)(struct probe *probe); /* they come back. 0 or -errno */
	/* This id is about to be given to another entity: clear what the probe keeps under it. No thread uses it. */
	void (*forget_entity)(struct probe *probe, uint32_t entity);
	void (*destroy)(
		struct probe *probe); /* frees probe_data(); also called on a half-built probe */
	struct probe_economy economy;
	/* A hash map, not allocated beforehand, of at most one element a TCP socket: its memory is counted by these. NULL: none. */
	const char *map_of_sockets;
	/*
	 * A probe that has nothing to do on many machines: it is loaded when this says that there is something. Asked about once a
	 * second, before that, without an object, and after.
	 */
	bool (*watch)(struct probe *probe);
	/* One that lives on the maps of another, which must run: on all that both have, but those by CPU, which are scratch. */
	const struct probe_desc *lender;
};

/*
 * Defines NAME_open and NAME_close for the skeleton of bpf/NAME.bpf.c; NAME_skeleton(probe) then gives
 * the typed skeleton, whose ->rodata may be written in configure.
 */
#define PROBE_SKELETON(name)                                                                       \
	static struct bpf_object *name##_open(struct probe *probe)                                 \
	{                                                                                          \
		struct name##_bpf *skeleton = name##_bpf__open();                                  \
		probe_set_skeleton(probe, skeleton);                                               \
		return skeleton ? skeleton->obj : NULL;                                            \
	}                                                                                          \
	static void name##_close(struct probe *probe)                                              \
	{                                                                                          \
		name##_bpf__destroy(probe_skeleton(probe));                                        \
		probe_set_skeleton(probe, NULL);                                                   \
	}                                                                                          \
	static inline struct name##_bpf *name##_skeleton(struct probe *probe)                      \
	{                                                                                          \
		return probe_skeleton(probe);                                                      \
	}

/* ---- what the core offers a probe ---- */

void probe_set_skeleton(struct probe *probe, void *skeleton);
void *probe_skeleton(struct probe *probe);
void probe_set_data(struct probe *probe, void *data); /* the probe's own state */
void *probe_data(struct probe *probe);

/* Options by key (without prefix); the key must be in the descriptor's table, else the agent aborts. */
bool probe_option_bool(struct probe *probe, const char *key);
int64_t probe_option_int(struct probe *probe, const char *key); /* INT; DURATION in ns; BYTES */
double probe_option_number(struct probe *probe, const char *key);
const char *probe_option_string(struct probe *probe, const char *key);

unsigned probe_cpus(struct probe *probe); /* possible CPUs: rows are laid out for so many */
unsigned probe_max_entities(struct probe *probe); /* entity ids are below this */

/* What the running kernel calls itself; false when the hook has no attached alternative. */
bool probe_hook_attached(struct probe *probe, const char *hook);
/* Attaches a hook that is on_demand, where the kernel offers it and it is not yet; without it the probe is degraded. */
void probe_demand_hook(struct probe *probe, const char *hook);
/* Program name of the chosen alternative, or NULL. Valid from configure on. */
const char *probe_hook_program(struct probe *probe, const char *hook);

/*
 * Calls back with each name and value of an enum (of 32 bits) as the running kernel has it; of all enums when `name` is
 * NULL, as some have none. In configure and start only.
 * 0, or -ENOENT when it has none of that name.
 */
typedef void kernel_enum_callback(void *context, const char *name, int64_t value);
int probe_kernel_enum(struct probe *probe, const char *name, kernel_enum_callback *callback,
		      void *context);

/* Says that the probe works, but not fully; shown in doctor, /health/detailed and the log. printf-like. */
void probe_degrade(struct probe *probe, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* For leadline_probe_events_total: kernel events aggregated so far, as the probe can derive it. */
void probe_report_events(struct probe *probe, uint64_t total);
/* For leadline_memory_bound_bytes: sockets with storage that no other probe counts, as last counted. */
void probe_report_sockets(struct probe *probe, uint64_t n);
/* For the same: the most that the probe's own tables of now may take in the process. */
void probe_report_memory(struct probe *probe, uint64_t bytes);
/* For leadline_probe_lost_total{reason}: losses the probe knows of besides its `probe_stats` map; cumulative. */
void probe_report_lost(struct probe *probe, const char *reason, uint64_t total);

/*
 * Rows (bpf/lib/rows.bpf.h). probe_rows_size() in configure: sets the map to CPUs × rows_per_cpu elements.
 * probe_rows() after load: the map's memory, mapped read-write until destroy; NULL with errno on failure.
 * Element r of CPU c is at ((char *)base) + (c * rows_per_cpu + r) * value_size, value_size a multiple of 8.
 */
int probe_rows_size(struct probe *probe, const char *map, unsigned rows_per_cpu);
void *probe_rows(struct probe *probe, const char *map);
/* Fills a DEFINE_FREE_ROWS queue with 1..rows-1; its size is set in configure by probe_map_size(). */
int probe_fill_free_rows(struct probe *probe, const char *map, unsigned rows);
int probe_free_row(struct probe *probe, const char *map, uint32_t row); /* gives one back */
int probe_map_size(struct probe *probe, const char *map, unsigned max_entries);
/*
 * In configure, how many rings `event_rings` (bpf/lib/emit.bpf.h) holds, of how many bytes each, and how large the last one is beside
 * them: powers of two. 0 or -errno.
 */
int probe_event_rings(struct probe *probe, unsigned n, unsigned bytes, unsigned last_bytes);
int probe_map_update(struct probe *probe, const char *map, const void *key,
		     const void *value); /* of a hash map; 0 or -errno */
int probe_map_delete(struct probe *probe, const char *map,
		     const void *key); /* from a hash map; 0 or -errno */
int probe_map_clear(struct probe *probe, const char *map); /* a hash map; 0 or -errno */
int probe_map_fd(struct probe *probe, const char *map); /* loaded; -ENOENT when there is none */

/* Runs an iterator program to its end. Its seq_file output, if any, is appended to nothing. 0 or -errno. */
int probe_run_iterator(struct probe *probe, const char *program);
/* The same of a hook's choice; if that walks over the elements of a map, of this one, which is in sockets' storage. */
int probe_visit_sockets(struct probe *probe, const char *hook, const char *map);

/*
 * In configure: copies what begins the lender's read-only data, its variable `settings`, to the same place of this
 * probe's. 0, or -errno.
 */
int probe_lent_settings(struct probe *probe, void *settings, size_t size);

/* Places in a file, and what the program is told each by: bpf_get_attach_cookie(). */
struct uprobe_place {
	uint64_t offset, cookie;
};

struct uprobe_target {
	const char *path;
	const struct uprobe_place *places;
	size_t n;
	bool at_return; /* of the functions that begin there; else before that is run */
	pid_t pid; /* in this process only; 0: in all that have the file mapped or will */
};

/*
 * Attaches a hook of kind HOOK_UPROBE_MULTI or HOOK_UPROBE to all places of a target, or to none. 0 or -errno. A process that this
 * one forks is another.
 */
struct uprobes;
int probe_attach_uprobes(struct probe *probe, const char *hook, const struct uprobe_target *target,
			 struct uprobes **ret_uprobes);
void probe_detach_uprobes(struct uprobes *uprobes); /* NULL is fine */
/* Whether this process may attach any: before Linux 6.10 that needs CAP_SYS_ADMIN, whatever else BPF needs. */
bool probe_may_hook_user_space(void);
/*
 * Tries a return hook out in a process of its own that is confined by seccomp. Where the kernel makes a system call of it (since 6.11,
 * ff474a78cef5) that such filters see (until 6.14, cf6cb56ef244), it is killed: -EOPNOTSUPP. 0, or -errno when it could not be tried.
 */
int probe_check_return_hooks(struct probe *probe, const char *hook);

/* Labels of an entity, e.g. for a log line: five strings, never NULL, valid until the next collection. */
const char *const *probe_entity_labels(struct probe *probe, uint32_t entity);

/* One structured log line under the probe's name. */
enum probe_log_level { PROBE_DEBUG, PROBE_INFO, PROBE_WARNING, PROBE_ERROR };
void probe_log(struct probe *probe, enum probe_log_level level, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* All probes, from probes.def. */
#define PROBE(name) extern const struct probe_desc probe_##name;
#include "probes/probes.def"
#undef PROBE

#endif
