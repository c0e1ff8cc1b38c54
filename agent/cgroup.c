// SPDX-License-Identifier: Apache-2.0
/* Reads cgroup paths; see cgroup.h. The layouts are those the runtimes document; each has a line in test_cgroup.c. */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "agent/cgroup.h"

#define MAX_COMPONENTS 16

static size_t count_hex(const char *text)
{
	size_t n = 0;

	while (isxdigit((unsigned char)text[n]))
		n++;
	return n;
}

static bool ends_with(const char *text, const char *suffix)
{
	size_t length = strlen(text), tail = strlen(suffix);

	return length > tail && !strcmp(text + length - tail, suffix);
}

/*
 * 64 hex digits that stand alone: "<id>", "docker-<id>.scope", "…:cri-containerd:<id>". Anything shorter is no
 * container: session-2.scope must not become container "2". CRI-O's monitor sits beside its container.
 */
static bool find_container_id(const char *name, char id[CGROUP_ID_SIZE])
{
	if (strstr(name, "crio-conmon-"))
		return false;
	for (const char *at = name; *at; at++) {
		bool starts = at == name || at[-1] == '-' || at[-1] == ':';

		if (!starts || count_hex(at) != CGROUP_ID_SIZE - 1)
			continue;
		if (at[CGROUP_ID_SIZE - 1] && strcmp(at + CGROUP_ID_SIZE - 1, ".scope"))
			continue;
		memcpy(id, at, CGROUP_ID_SIZE - 1);
		id[CGROUP_ID_SIZE - 1] = '\0';
		return true;
	}
	return false;
}

/* liblxc's groups are lxc.payload.NAME, before 4.0 /lxc/NAME. */
static bool find_lxc_name(const char *name, const char *parent, char id[CGROUP_ID_SIZE])
{
	static const char payload[] = "lxc.payload.";

	if (!strncmp(name, payload, sizeof(payload) - 1) && name[sizeof(payload) - 1])
		name += sizeof(payload) - 1;
	else if (!parent || strcmp(parent, "lxc"))
		return false;
	snprintf(id, CGROUP_ID_SIZE, "%s", name);
	return true;
}

/* 8-4-4-4-12 hex digits with '-', or '_' as systemd escapes it; or a static pod's 32 digits. */
static bool read_pod_uid(const char *text, char uid[CGROUP_POD_SIZE])
{
	static const int groups[] = { 8, 4, 4, 4, 12 };
	const char *at = text;
	size_t length;

	if (count_hex(text) == 32 && !isalnum((unsigned char)text[32])) {
		snprintf(uid, CGROUP_POD_SIZE, "%.32s", text);
		return true;
	}
	for (int i = 0; i < 5; i++) {
		if (count_hex(at) != (size_t)groups[i])
			return false;
		at += groups[i];
		if (i < 4 && *at != '-' && *at != '_')
			return false;
		at += i < 4;
	}
	length = (size_t)(at - text);
	memcpy(uid, text, length);
	uid[length] = '\0';
	for (char *c = uid; *c; c++)
		if (*c == '_')
			*c = '-';
	return true;
}

/* "pod<uid>" at the start (cgroupfs driver) or after a dash (systemd driver), below a kubepods group. */
static bool find_pod_uid(const char *name, char uid[CGROUP_POD_SIZE])
{
	const char *at = name;

	while ((at = strstr(at, "pod"))) {
		if ((at == name || at[-1] == '-') && read_pod_uid(at + 3, uid))
			return true;
		at += 3;
	}
	return false;
}

static bool is_unit(const char *name)
{
	static const char *const suffixes[] = { ".service", ".scope", ".socket", ".mount",
						".swap" };

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++)
		if (ends_with(name, suffixes[i]))
			return true;
	return false;
}

static void join_path(const char *const *components, size_t n, char *out, size_t size)
{
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = n; i-- > 0 && used < size;)
		used += (size_t)snprintf(out + used, size - used, "/%s", components[i]);
}

void cgroup_identify(const char *const *names, size_t n_names, struct cgroup_identity *ret_identity)
{
	const char *components[MAX_COMPONENTS];
	struct cgroup_identity found = { "", "", "" };
	size_t n = 0, container_at = 0;
	bool has_slice = false;

	for (size_t i = 0; i < n_names && n < MAX_COMPONENTS; i++)
		if (names[i] && names[i][0] && strcmp(names[i], "/"))
			components[n++] = names[i];

	/* The innermost container: where one runs in another, it is the one people mean. */
	for (size_t i = 0; i < n && !found.container[0]; i++) {
		const char *parent = i + 1 < n ? components[i + 1] : NULL;

		if (find_container_id(components[i], found.container) ||
		    find_lxc_name(components[i], parent, found.container))
			container_at = i;
	}
	for (size_t i = 0; i < n && !found.pod_uid[0]; i++)
		find_pod_uid(components[i], found.pod_uid);
	/* A unit inside the container, or the host's where there is no container. */
	for (size_t i = 0; i < n && !found.unit[0]; i++) {
		if (found.container[0] && i >= container_at)
			break;
		if (is_unit(components[i]))
			snprintf(found.unit, sizeof(found.unit), "%s", components[i]);
		has_slice |= ends_with(components[i], ".slice");
	}
	if (!found.unit[0] && !found.container[0] && !found.pod_uid[0]) {
		if (has_slice)
			snprintf(found.unit, sizeof(found.unit), "%s", components[0]);
		else
			join_path(components, n, found.unit, sizeof(found.unit));
	}
	*ret_identity = found;
}
