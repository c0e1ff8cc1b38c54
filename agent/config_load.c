/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where values come from: file, environment and flags, in this order. Each goes through config_set(), so
 * that one range check and one message serve all. Every mistake is collected, so that one run shows
 * them all. Any thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "agent/config_store.h"
#include "agent/suggest.h"

/* ---- file ---- */

/* Reads at most CONFIG_MAX_FILE_SIZE bytes; one more is -EFBIG. */
static int read_file(const char *path, struct buffer *ret_bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int error = 0;

	if (fd < 0)
		return -errno;
	while (!error) {
		char *room = buffer_reserve(ret_bytes, 16384);
		ssize_t n = room ? read(fd, room, 16384) : 0;

		if (!room)
			error = -ENOMEM;
		else if (n < 0)
			error = errno == EINTR ? 0 : -errno;
		else if (n == 0)
			break;
		else if ((ret_bytes->size += (size_t)n) > CONFIG_MAX_FILE_SIZE)
			error = -EFBIG;
	}
	close(fd);
	return error;
}

static int config_load_file(struct config_loader *loader, const char *path, bool may_be_missing)
{
	struct buffer bytes = { 0 };
	int error = read_file(path, &bytes);

	if (error == -ENOENT && may_be_missing) {
		error = 0;
		goto out;
	}
	if (error == -EFBIG)
		config_complain(loader, path, 0,
				"is larger than 1 MiB; this is no leadline configuration");
	else if (error)
		config_complain(loader, path, 0, "cannot be read: %s", strerror(-error));
	if (error)
		goto out;
	loader->config->path = strdup(path);
	if (!loader->config->path)
		loader->no_memory = true;
	loader->file = path;
	config_read_yaml(loader, bytes.data ? bytes.data : "", bytes.size);
out:
	buffer_free(&bytes);
	return error;
}

/* ---- environment and flags ---- */

/*
 * Kubernetes puts variables of every Service into a container: LEADLINE_SERVICE_HOST,
 * LEADLINE_PORT_9797_TCP_ADDR and so on for one called "leadline". They are not meant for us.
 */
static bool is_service_link(const char *name)
{
	size_t length = strlen(name);
	const char *port;

	if (strstr(name, "_SERVICE_HOST") || strstr(name, "_SERVICE_PORT"))
		return true;
	if (length >= 5 && !strcmp(name + length - 5, "_PORT"))
		return true;
	for (port = strstr(name, "_PORT_"); port; port = strstr(port + 1, "_PORT_")) {
		const char *protocol = port + 6 + strspn(port + 6, "0123456789");

		if (protocol > port + 6 &&
		    (!strncmp(protocol, "_TCP", 4) || !strncmp(protocol, "_UDP", 4) ||
		     !strncmp(protocol, "_SCTP", 5)))
			return true;
	}
	return false;
}

static void complain_variable(struct config_loader *loader, const char *name)
{
	char shown[OPTION_QUOTE_SIZE], variable[CONFIG_VARIABLE_SIZE];
	struct suggestion suggestion;
	char best[CONFIG_VARIABLE_SIZE] = "";

	suggestion_start(&suggestion, name);
	for (size_t i = 0; i < loader->config->n_entries; i++) {
		const char *before = suggestion.best;

		suggestion_offer(&suggestion,
				 config_variable(loader->config->entries[i].key, variable));
		if (suggestion.best != before) {
			strcpy(best, variable);
			suggestion.best = best;
		}
	}
	config_show_key(name, shown);
	if (*best)
		config_complain(loader, shown, 0,
				"unknown setting in the environment; did you mean %s?", best);
	else
		config_complain(
			loader, shown, 0,
			"unknown setting in the environment; unset it, or see `leadline help` for all settings");
}

static void config_read_variable(struct config_loader *loader, const char *name, const char *value)
{
	char variable[CONFIG_VARIABLE_SIZE];

	if (!strcmp(name, CONFIG_VARIABLE_PREFIX "CONFIG"))
		return;
	for (size_t i = 0; i < loader->config->n_entries; i++) {
		struct config_entry *entry = &loader->config->entries[i];

		if (!strcmp(config_variable(entry->key, variable), name)) {
			config_set(loader, entry, value, CONFIG_ENVIRONMENT, variable, 0);
			return;
		}
	}
	if (!is_service_link(name))
		complain_variable(loader, name);
}

static void config_read_environment(struct config_loader *loader, const char *const *environment)
{
	for (; environment && *environment; environment++) {
		const char *equals = strchr(*environment, '=');
		char *name;

		if (!equals || strncmp(*environment, CONFIG_VARIABLE_PREFIX,
				       sizeof(CONFIG_VARIABLE_PREFIX) - 1))
			continue;
		name = strndup(*environment, (size_t)(equals - *environment));
		if (!name) {
			loader->no_memory = true;
			return;
		}
		config_read_variable(loader, name, equals + 1);
		free(name);
	}
}

static void config_read_flags(struct config_loader *loader, const struct config_flag *flags,
			      size_t n_flags)
{
	char where[CONFIG_KEY_SIZE + 2];

	for (size_t i = 0; i < n_flags; i++) {
		struct config_entry *entry = config_find(loader->config, flags[i].key);

		snprintf(where, sizeof(where), "--%s", flags[i].key);
		if (entry)
			config_set(loader, entry, flags[i].value, CONFIG_FLAG, where, 0);
		else
			config_complain(loader, where, 0, "unknown flag");
	}
}

static const char *find_variable(const char *const *environment, const char *name)
{
	size_t length = strlen(name);

	for (; environment && *environment; environment++)
		if (!strncmp(*environment, name, length) && (*environment)[length] == '=')
			return *environment + length + 1;
	return NULL;
}

int config_load(const struct config_request *request, struct config **ret_config,
		struct buffer *errors)
{
	struct config_loader loader = { .errors = errors };
	const char *path = request->path;
	int error = 0;

	config_create(&loader, request->tables);
	if (loader.no_memory || loader.n_errors)
		return config_finish(&loader, 0, ret_config);
	if (!path)
		path = find_variable(request->environment, CONFIG_VARIABLE_PREFIX "CONFIG");
	error = config_load_file(&loader, path ? path : CONFIG_DEFAULT_PATH, !path);
	config_read_environment(&loader, request->environment);
	config_read_flags(&loader, request->flags, request->n_flags);
	return config_finish(&loader, error, ret_config);
}

int config_parse(const struct option_table *tables, const char *name, const void *data, size_t size,
		 struct config **ret_config, struct buffer *errors)
{
	struct config_loader loader = { .file = name, .errors = errors };

	config_create(&loader, tables);
	if (!loader.no_memory && !loader.n_errors) {
		if (size > CONFIG_MAX_FILE_SIZE)
			config_complain(&loader, name, 0,
					"is larger than 1 MiB; this is no leadline configuration");
		else
			config_read_yaml(&loader, data, size);
	}
	return config_finish(&loader, 0, ret_config);
}
