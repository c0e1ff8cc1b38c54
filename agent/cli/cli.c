/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From argv to a command: argp reads the flags, the words say which command, the configuration is
 * loaded for those that need one, the log is set up, the command runs. Main thread, before there
 * are others.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <argp.h>
#include "agent/agent.h"
#include "agent/cli/cli.h"
#include "agent/cli/flags.h"
#include "agent/log.h"
#include "agent/suggest.h"
#include "agent/version.h"

#define MAX_WORDS 8

const struct cli_command cli_commands[] = {
	{ "agent", cli_agent, NULL, 0, CLI_CONFIG | CLI_LOG, "run the agent (the default)" },
	{ "doctor", cli_doctor, NULL, 0, CLI_CONFIG | CLI_JSON | CLI_MEASURE,
	  "what this kernel allows, what each probe uses, and what would mend the rest" },
	{ "health", cli_health, NULL, 0, CLI_CONFIG | CLI_JSON,
	  "ask the running agent how the host is; exit 0 healthy, 1 not" },
	{ "requests", cli_requests, NULL, 0, CLI_CONFIG | CLI_JSON | CLI_REQUESTS,
	  "ask the running agent for requests by service and route, or the slowest ones" },
	{ "zoom", cli_zoom, NULL, 0, CLI_CONFIG | CLI_JSON | CLI_ZOOM,
	  "every thread, system call and file of one program, for a while" },
	{ "metrics", cli_metrics, NULL, 0, CLI_JSON | CLI_MARKDOWN,
	  "the catalogue of all metrics" },
	{ "config check", cli_config_check, "[FILE]", 1, 0,
	  "whether the agent would start with this configuration" },
	{ "config show", cli_config_show, NULL, 0, CLI_CONFIG,
	  "the configuration in force and where each value is from" },
	{ "config sample", cli_config_sample, NULL, 0, 0,
	  "a configuration file with every setting and its default" },
	{ "man", cli_man, "FRAME", 1, 0, "the manual page, from its frame" },
	{ "version", cli_version, NULL, 0, CLI_JSON, "print the version" },
	{ "help", cli_help, NULL, 0, 0, "print this" },
	{ .name = NULL },
};

/* A command line taken apart. */
struct invocation {
	const struct flags *flags;
	const char *words[MAX_WORDS];
	size_t n_words;
	struct config_flag *settings;
	size_t n_settings;
	const char *config_path;
	const char *values[CLI_VALUES];
	bool json, markdown, slow, once, measure, help, version;
	int next; /* in argv, when argp gave up */
};

static error_t take(int key, char *argument, struct argp_state *state)
{
	struct invocation *invocation = state->input;

	switch (key) {
	case FLAG_CONFIG:
		invocation->config_path = argument;
		return 0;
	case FLAG_JSON:
		invocation->json = true;
		return 0;
	case FLAG_MARKDOWN:
		invocation->markdown = true;
		return 0;
	case FLAG_SLOW:
		invocation->slow = true;
		return 0;
	case FLAG_ONCE:
		invocation->once = true;
		return 0;
	case FLAG_MEASURE:
		invocation->measure = true;
		return 0;
	case FLAG_HELP:
		invocation->help = true;
		return 0;
	case FLAG_VERSION:
		invocation->version = true;
		return 0;
	case ARGP_KEY_ERROR:
		invocation->next = state->next;
		return 0;
	case ARGP_KEY_ARG:
		if (invocation->n_words == MAX_WORDS)
			return ENOSPC;
		invocation->words[invocation->n_words++] = argument;
		return 0;
	default:
		if (key >= FLAG_VALUE && key < FLAG_VALUE + CLI_VALUES) {
			invocation->values[key - FLAG_VALUE] = argument;
			return 0;
		}
		if (key < FLAG_OPTION || key >= FLAG_OPTION + (int)invocation->flags->n_keys)
			return ARGP_ERR_UNKNOWN;
		invocation->settings[invocation->n_settings++] = (struct config_flag){
			.key = invocation->flags->keys[key - FLAG_OPTION],
			.value = argument,
		};
		return 0;
	}
}

/* Says what is wrong with the flag argp did not take. */
static void complain_flag(const struct flags *flags, const char *flag, FILE *err)
{
	const char *dashless = flag + strspn(flag, "-");
	size_t length = strcspn(dashless, "=");
	char name[CONFIG_KEY_SIZE], quoted[OPTION_QUOTE_SIZE];
	const struct argp_option *known;
	const char *nearest;

	if (length >= sizeof(name))
		length = sizeof(name) - 1;
	memcpy(name, dashless, length);
	name[length] = '\0';
	known = flags_find(flags, strcmp(flag, "-c") ? name : "config");
	nearest = flags_nearest(flags, name);
	if (known && known->arg)
		fprintf(err, "leadline: --%s: needs a value: --%s=%s\n", known->name, known->name,
			known->arg);
	else if (known)
		fprintf(err, "leadline: --%s: takes no value\n", known->name);
	else if (nearest)
		fprintf(err, "leadline: %s: unknown flag; did you mean --%s?\n",
			option_quote(flag, quoted), nearest);
	else
		fprintf(err, "leadline: %s: unknown flag; `leadline help` lists all of them\n",
			option_quote(flag, quoted));
}

/*
 * The flag before `next`, or, when argp is in the midst of letters joined as in -hx, the one at it.
 */
static const char *stumbled_over(int argc, char **argv, int next)
{
	int before = next > 0 ? next - 1 : 0;

	return next < argc && argv[before][0] != '-' ? argv[next] : argv[before];
}

/*
 * Fills the invocation, whose settings must have room for argc; CLI_OK or CLI_USAGE with a
 * complaint written.
 */
static int parse_arguments(int argc, char **argv, struct invocation *invocation, FILE *err)
{
	const struct argp argp = { .options = invocation->flags->options, .parser = take };
	/* in order, so that the flag it stumbles over is the one before `next` */
	const unsigned flags = ARGP_NO_ERRS | ARGP_NO_EXIT | ARGP_NO_HELP | ARGP_IN_ORDER;
	error_t error;

	error = argp_parse(&argp, argc, argv, flags, NULL, invocation);
	if (error == ENOSPC)
		fprintf(err, "leadline: too many arguments; see `leadline help`\n");
	else if (error)
		complain_flag(invocation->flags, stumbled_over(argc, argv, invocation->next), err);
	return error ? CLI_USAGE : CLI_OK;
}

/* How many of the words are the command's name; 0 when it is not that command. */
static size_t match_command(const struct cli_command *command, const char *const *words,
			    size_t n_words)
{
	const char *space = strchr(command->name, ' ');
	size_t first = space ? (size_t)(space - command->name) : strlen(command->name);

	if (n_words < 1 || strlen(words[0]) != first || memcmp(words[0], command->name, first))
		return 0;
	if (!space)
		return 1;
	return n_words > 1 && !strcmp(words[1], space + 1) ? 2 : 0;
}

/* True for "config" and the command "config check". */
static bool begins_name(const struct cli_command *command, const char *word)
{
	size_t length = strlen(word);

	return !strncmp(command->name, word, length) && command->name[length] == ' ';
}

static void complain_command(const struct invocation *invocation, FILE *err)
{
	char typed[256], quoted[OPTION_QUOTE_SIZE];
	struct suggestion suggestion;

	snprintf(typed, sizeof(typed), "%s%s%s", invocation->words[0],
		 invocation->n_words > 1 ? " " : "",
		 invocation->n_words > 1 ? invocation->words[1] : "");
	suggestion_start(&suggestion, typed);
	for (const struct cli_command *command = cli_commands; command->name; command++)
		suggestion_offer(&suggestion, command->name);
	if (!suggestion.best) { /* `config` alone, or with a word after it like none of ours */
		const struct cli_command *command = cli_commands;

		while (command->name && !begins_name(command, invocation->words[0]))
			command++;
		suggestion.best = command->name;
	}
	fprintf(err, "leadline: %s: unknown command; ", option_quote(typed, quoted));
	if (suggestion.best)
		fprintf(err, "did you mean \"%s\"?\n", suggestion.best);
	else
		fprintf(err, "`leadline help` lists all of them\n");
}

/* The command the words ask for, or NULL after a complaint. Sets how many words its name took. */
static const struct cli_command *find_command(const struct invocation *invocation, size_t *ret_used,
					      FILE *err)
{
	const struct cli_command *command;

	*ret_used = 0;
	if (!invocation->n_words)
		return &cli_commands[0];
	for (command = cli_commands; command->name; command++) {
		*ret_used = match_command(command, invocation->words, invocation->n_words);
		if (*ret_used)
			return command;
	}
	complain_command(invocation, err);
	return NULL;
}

static const struct {
	const char *flag;
	unsigned taken_by; /* CLI_* */
} value_flags[] = {
	[CLI_PID] = { "--pid", CLI_ZOOM },	 [CLI_CONTAINER] = { "--container", CLI_ZOOM },
	[CLI_CGROUP] = { "--cgroup", CLI_ZOOM }, [CLI_FOR] = { "--for", CLI_ZOOM },
	[CLI_TOP] = { "--top", CLI_ZOOM },	 [CLI_SERVICE] = { "--service", CLI_REQUESTS },
};

/* CLI_OK, or CLI_USAGE after a complaint: flags or arguments the command does not take. */
static int check_usage(const struct cli_command *command, const struct cli_context *context)
{
	const char *flag = NULL;

	if (context->json && !(command->flags & CLI_JSON))
		flag = "--json";
	else if (context->markdown && !(command->flags & CLI_MARKDOWN))
		flag = "--markdown";
	else if (context->measure && !(command->flags & CLI_MEASURE))
		flag = "--measure";
	if ((context->slow || context->once) && !(command->flags & CLI_REQUESTS))
		flag = context->slow ? "--slow" : "--once";
	for (int i = 0; i < CLI_VALUES; i++)
		if (context->values[i] && !(command->flags & value_flags[i].taken_by))
			flag = value_flags[i].flag;
	if (flag) {
		fprintf(context->err, "leadline: %s: `leadline %s` does not take it\n", flag,
			command->name);
		return CLI_USAGE;
	}
	if (context->n_arguments > command->max_arguments) {
		char quoted[OPTION_QUOTE_SIZE];

		fprintf(context->err, "leadline: %s: `leadline %s` takes %s\n",
			option_quote(context->arguments[command->max_arguments], quoted),
			command->name, command->arguments ? command->arguments : "no arguments");
		return CLI_USAGE;
	}
	return CLI_OK;
}

struct config *cli_load(const struct config_request *request, FILE *err)
{
	struct buffer errors = { 0 };
	struct config *config = NULL;
	int error = config_load(request, &config, &errors);

	if (errors.size)
		fwrite(errors.data, 1, errors.size, err);
	else if (error)
		fprintf(err, "leadline: configuration: %s\n", strerror(-error));
	buffer_free(&errors);
	return config;
}

/* The agent logs as configured, other commands what went wrong, for who typed them. */
static int start_log(const struct cli_command *command, const struct cli_context *context)
{
	enum log_level level = LOG_LEVEL_WARNING;
	int error;

	if (command->flags & CLI_LOG) {
		error = agent_log_init(context->config);
		if (error)
			fprintf(context->err, "leadline: log.file: %s: %s\n",
				config_string(context->config, "log.file"), strerror(-error));
		return error ? CLI_USAGE : CLI_OK;
	}
	if (context->config && config_source(context->config, "log.level") != CONFIG_DEFAULT)
		level = (enum log_level)log_level_parse(
			config_string(context->config, "log.level"));
	log_init(level, LOG_FORMAT_PLAIN, NULL);
	return CLI_OK;
}

static int run_command(const struct cli_command *command, struct cli_context *context)
{
	struct config *config = NULL;
	int code = check_usage(command, context);

	if (code)
		return code;
	if (command->flags & CLI_CONFIG) {
		config = cli_load(context->request, context->err);
		if (!config)
			return CLI_USAGE;
		context->config = config;
	}
	code = start_log(command, context);
	if (!code)
		code = command->run(context);
	config_free(config);
	if (fflush(context->out) && !code) {
		fprintf(context->err, "leadline: output: %s\n", strerror(errno));
		code = CLI_FAILED;
	}
	return code;
}

int cli_run(int argc, char **argv, const char *const *environment, FILE *out, FILE *err)
{
	struct flags flags;
	struct invocation invocation = { .flags = &flags };
	const struct cli_command *command = NULL;
	struct config_request request;
	struct cli_context context;
	int code = CLI_FAILED;
	size_t used;

	if (flags_create(&flags, config_tables())) {
		fprintf(err, "leadline: out of memory\n");
		return CLI_FAILED;
	}
	invocation.settings = calloc((size_t)argc + 1, sizeof(*invocation.settings));
	if (!invocation.settings) {
		fprintf(err, "leadline: out of memory\n");
		goto out;
	}
	code = parse_arguments(argc, argv, &invocation, err);
	if (code)
		goto out;
	request = (struct config_request){
		.tables = config_tables(),
		.path = invocation.config_path,
		.environment = environment,
		.flags = invocation.settings,
		.n_flags = invocation.n_settings,
	};
	context = (struct cli_context){
		.json = invocation.json,
		.markdown = invocation.markdown,
		.slow = invocation.slow,
		.once = invocation.once,
		.measure = invocation.measure,
		.request = &request,
		.out = out,
		.err = err,
	};
	memcpy(context.values, invocation.values, sizeof(context.values));
	if (invocation.help || invocation.version) {
		code = invocation.help ? cli_help(&context) : cli_version(&context);
		goto out;
	}
	code = CLI_USAGE;
	command = find_command(&invocation, &used, err);
	if (!command)
		goto out;
	context.arguments = invocation.words + used;
	context.n_arguments = invocation.n_words - used;
	code = run_command(command, &context);
out:
	free(invocation.settings);
	flags_destroy(&flags);
	return code;
}
