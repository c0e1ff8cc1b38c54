// SPDX-License-Identifier: Apache-2.0
/* Probes what the running kernel offers; see caps.h. Loop thread, or the only thread of a command. */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "agent/caps.h"
#include "agent/uprobes.h"

#define BTF_PATH "/sys/kernel/btf/vmlinux"

struct caps {
	struct btf *btf;
	struct kernel_offers offers;
};

static int tracepoint_args(const void *context, const char *name)
{
	const struct caps *caps = context;
	const struct btf_type *type;
	char typedef_name[128];
	int id;

	/* The kernel describes each tracepoint's probe as: typedef void (*btf_trace_NAME)(void *, …); */
	snprintf(typedef_name, sizeof(typedef_name), "btf_trace_%s", name);
	id = btf__find_by_name_kind(caps->btf, typedef_name, BTF_KIND_TYPEDEF);
	if (id < 0)
		return -1;
	type = btf__type_by_id(caps->btf, btf__type_by_id(caps->btf, id)->type);
	if (!type || !btf_is_ptr(type))
		return -1;
	type = btf__type_by_id(caps->btf, type->type);
	if (!type || !btf_is_func_proto(type) || btf_vlen(type) == 0)
		return -1;
	return btf_vlen(type) - 1;
}

static bool has_function(const void *context, const char *name)
{
	const struct caps *caps = context;

	return btf__find_by_name_kind(caps->btf, name, BTF_KIND_FUNC) > 0;
}

static void each_value(const struct btf *btf, const struct btf_type *type,
		       kernel_enum_callback *callback, void *context)
{
	const struct btf_enum *values = btf_enum(type);

	for (int i = 0; i < btf_vlen(type); i++)
		callback(context, btf__name_by_offset(btf, values[i].name_off),
			 btf_kflag(type) ? (int64_t)values[i].val : (int64_t)(__u32)values[i].val);
}

static int each_enum_value(const void *context, const char *name, kernel_enum_callback *callback,
			   void *callback_context)
{
	const struct caps *caps = context;
	int id;

	if (!name) {
		for (__u32 i = 1; i < btf__type_cnt(caps->btf); i++)
			if (btf_is_enum(btf__type_by_id(caps->btf, i)))
				each_value(caps->btf, btf__type_by_id(caps->btf, i), callback,
					   callback_context);
		return 0;
	}
	id = btf__find_by_name_kind(caps->btf, name, BTF_KIND_ENUM);
	if (id < 0)
		return id;
	each_value(caps->btf, btf__type_by_id(caps->btf, (__u32)id), callback, callback_context);
	return 0;
}

static bool has_capability(int bit)
{
	unsigned long long effective = 0;
	char line[128];
	FILE *file = fopen("/proc/self/status", "re");

	if (!file)
		return false;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "CapEff: %llx", &effective) == 1)
			break;
	fclose(file);
	return effective >> bit & 1;
}

/* include/uapi/linux/capability.h */
#define CAP_DAC_READ_SEARCH 2
#define CAP_SYS_PTRACE	    19
#define CAP_SYS_ADMIN	    21
#define CAP_PERFMON	    38
#define CAP_BPF		    39

/*
 * The only way to know whether the kernel takes a kind of program is to try: an empty one for a function that every kernel has, which
 * is attached, too, if it is to trace that.
 */
static bool tracing_works(const struct caps *caps, enum bpf_attach_type type, const char *function)
{
	const struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = type);
	int id = btf__find_by_name_kind(caps->btf, function, BTF_KIND_FUNC);
	int fd, link;

	if (id < 0)
		return false;
	/* Without them nothing can be tried; what is then chosen is refused for just that reason. */
	if (!has_capability(CAP_SYS_ADMIN) &&
	    !(has_capability(CAP_BPF) && has_capability(CAP_PERFMON)))
		return true;
	options.attach_btf_id = id;
	fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, "leadline_try", "Dual BSD/GPL", program,
			   sizeof(program) / sizeof(program[0]), &options);
	if (fd < 0)
		return false;
	if (type == BPF_TRACE_ITER) {
		close(fd);
		return true;
	}
	link = bpf_raw_tracepoint_open(NULL, fd);
	if (link >= 0)
		close(link);
	close(fd);
	return link >= 0;
}

static bool is_readable(const char *path)
{
	return access(path, R_OK) == 0;
}

/* perf events of the kinds that classic tracepoints need; Debian forbids them without CAP_SYS_ADMIN at level 3. */
static int perf_paranoia(void)
{
	FILE *file = fopen("/proc/sys/kernel/perf_event_paranoid", "re");
	int level = 2;

	if (!file)
		return -1;
	if (fscanf(file, "%d", &level) != 1)
		level = 2;
	fclose(file);
	return level;
}

const struct kernel_offers *caps_offers(const struct caps *caps)
{
	return &caps->offers;
}

int caps_new(const char *avoid, struct caps **ret_caps, char *error, size_t error_size)
{
	struct caps *caps = calloc(1, sizeof(*caps));
	struct kernel_offers *offers;
	int err;

	if (!caps)
		return -ENOMEM;
	caps->btf = btf__load_vmlinux_btf();
	if (!caps->btf) {
		err = -errno;
		snprintf(
			error, error_size,
			"no type information of the running kernel (%s: %s); leadline needs a kernel built with "
			"CONFIG_DEBUG_INFO_BTF=y",
			BTF_PATH, strerror(-err));
		free(caps);
		return err;
	}
	offers = &caps->offers;
	*offers = (struct kernel_offers){
		.context = caps,
		.tracepoint_args = tracepoint_args,
		.has_function = has_function,
		.each_enum_value = each_enum_value,
		.hides_modules = !has_capability(CAP_SYS_ADMIN),
		.avoid = avoid,
	};
	offers->kind_works[HOOK_TP_BTF] = true;
	offers->kind_works[HOOK_ITER] = true;
	offers->kind_works[HOOK_ITER_MAP] =
		tracing_works(caps, BPF_TRACE_ITER, "bpf_iter_bpf_sk_storage_map");
	offers->kind_why_not[HOOK_ITER_MAP] =
		"this kernel lets no program walk the elements of a map";
	offers->kind_works[HOOK_FENTRY] = offers->kind_works[HOOK_FEXIT] =
		tracing_works(caps, BPF_TRACE_FENTRY, "tcp_sendmsg");
	offers->kind_why_not[HOOK_FENTRY] = offers->kind_why_not[HOOK_FEXIT] =
		"this kernel does not allow tracing of functions (needs CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS)";
	offers->kind_works[HOOK_KPROBE] = offers->kind_works[HOOK_KRETPROBE] =
		is_readable("/sys/bus/event_source/devices/kprobe/type");
	offers->kind_why_not[HOOK_KPROBE] = offers->kind_why_not[HOOK_KRETPROBE] =
		"this kernel has no kprobes (needs CONFIG_KPROBES and CONFIG_KPROBE_EVENTS)";
	offers->kind_works[HOOK_UPROBE_MULTI] = uprobes_multi_works();
	offers->kind_why_not[HOOK_UPROBE_MULTI] =
		"this kernel hooks each function of a process by itself (many at once needs Linux 6.10)";
	offers->kind_works[HOOK_UPROBE] = is_readable("/sys/bus/event_source/devices/uprobe/type");
	offers->kind_why_not[HOOK_UPROBE] =
		"this kernel has no uprobes (needs CONFIG_UPROBES and CONFIG_UPROBE_EVENTS)";
	offers->kind_works[HOOK_TRACEPOINT] = is_readable("/sys/kernel/tracing/events") ||
					      is_readable("/sys/kernel/debug/tracing/events");
	offers->kind_why_not[HOOK_TRACEPOINT] =
		"tracefs is not mounted (mount -t tracefs tracefs /sys/kernel/tracing)";
	*ret_caps = caps;
	return 0;
}

void caps_free(struct caps *caps)
{
	if (!caps)
		return;
	btf__free(caps->btf);
	free(caps);
}

/* ---- facts for doctor ---- */

static struct caps_fact *add_fact(struct caps_fact *fact, const char *name, bool ok, bool needed,
				  const char *remedy)
{
	*fact = (struct caps_fact){
		.name = name, .ok = ok, .needed = needed, .remedy = ok ? NULL : remedy
	};
	snprintf(fact->detail, sizeof(fact->detail), "%s", ok ? "yes" : "no");
	return fact;
}

const struct caps_fact *caps_facts(void)
{
	static struct caps_fact facts[12];
	struct caps_fact *fact = facts;
	struct utsname kernel;
	bool admin = has_capability(CAP_SYS_ADMIN);
	int paranoia = perf_paranoia();

	uname(&kernel);
	add_fact(fact, "kernel", true, true, NULL);
	snprintf(fact++->detail, sizeof(fact->detail), "%s %.60s %.20s", kernel.sysname,
		 kernel.release, kernel.machine);
	add_fact(fact++, "BTF", is_readable(BTF_PATH), true,
		 "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y; in a "
		 "container, mount the host's /sys/kernel/btf read-only");
	add_fact(
		fact++, "CAP_BPF", admin || has_capability(CAP_BPF), true,
		"run as root, or grant CAP_BPF (AmbientCapabilities=, or capabilities: add: [BPF])");
	add_fact(fact++, "CAP_PERFMON", admin || has_capability(CAP_PERFMON), true,
		 "run as root, or grant CAP_PERFMON beside CAP_BPF");
	add_fact(fact++, "CAP_SYS_PTRACE", has_capability(CAP_SYS_PTRACE), false,
		 "grant CAP_SYS_PTRACE: needed to look into other users' processes");
	add_fact(fact++, "CAP_DAC_READ_SEARCH", has_capability(CAP_DAC_READ_SEARCH), false,
		 "grant CAP_DAC_READ_SEARCH: needed to read other users' files under /proc");
	add_fact(
		fact, "perf events", admin || paranoia <= 2, false,
		"sysctl kernel.perf_event_paranoid=2, or grant CAP_SYS_ADMIN: classic tracepoints need it, and before Linux 6.10 the hooks on TLS libraries");
	snprintf(fact++->detail, sizeof(fact->detail), "perf_event_paranoid is %d", paranoia);
	add_fact(fact, "libbpf", libbpf_major_version() >= 1, true, "install libbpf 1.0 or later");
	snprintf(fact++->detail, sizeof(fact->detail), "%s", libbpf_version_string());
	fact->name = NULL;
	return facts;
}
