// SPDX-License-Identifier: Apache-2.0
/* Puts the parts together; see agent.h. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "agent/agent.h"
#include "agent/budget_keeper.h"
#include "agent/caps.h"
#include "agent/collector.h"
#include "agent/health.h"
#include "agent/http.h"
#include "agent/log.h"
#include "agent/loop.h"
#include "agent/metrics_options.h"
#include "agent/naming.h"
#include "agent/outbound.h"
#include "agent/probe_set.h"
#include "agent/registry.h"
#include "agent/routes.h"
#include "agent/self.h"

#define SCRAPE_PATIENCE_NS 2000000000ULL
#define DRAIN_INTERVAL_NS                                                                          \
	50000000ULL /* rings are drained so often, or as soon as one is half full */
#define MAINTAIN_INTERVAL_NS 1000000000ULL

struct agent {
	struct config_request request; /* to load the configuration again */
	const struct config *config; /* in force */
	struct config *reloaded; /* the same when it is our own; else NULL */
	uint64_t started_ns;
	uint64_t max_age_ns; /* of what a scrape is answered with */
	uint64_t collections;

	struct loop *loop;
	struct outbound *outbound;
	struct naming *naming; /* NULL in mode "disabled" */
	struct probe_set *probes; /* NULL in mode "disabled" */
	struct budget_floor floor;
	struct budget_keeper *budget; /* the same */
	struct registry *registry;
	struct collector *collector;
	struct health *health;
	struct routes *routes;
	struct http_server *server;
};

static bool is_disabled(const struct agent *agent)
{
	return !strcmp(config_string(agent->config, "mode"), "disabled");
}

/* ---- collecting and judging ---- */

static struct entity_table *entities_of(const struct agent *agent)
{
	return agent->probes ? probe_set_entities(agent->probes) : NULL;
}

static const char *const *labels_of(void *context, uint32_t entity)
{
	return entity_labels(entities_of(context), entity);
}

static bool is_leaving(void *context, uint32_t entity)
{
	return entity_is_leaving(entities_of(context), entity);
}

static void forget_entity(void *context, uint32_t entity)
{
	struct agent *agent = context;

	if (registry_forget_entity(agent->registry, entity))
		log_limited(LOG_LEVEL_ERROR, "agent", "out of memory: a series falls back");
}

static void apply_names(struct agent *agent)
{
	if (agent->naming && entities_of(agent))
		naming_apply(agent->naming, entities_of(agent));
}

static void write_values(void *context, struct metric_writer *writer)
{
	struct agent *agent = context;
	struct snapshot *previous = collector_latest(agent->collector);
	struct health_report *report = health_report_get(agent->health);
	struct self_sources self = {
		.registry = agent->registry,
		.n_series = previous ? previous->n_series : 0,
		.collection_ns = collector_last_duration_ns(agent->collector),
	};

	if (agent->probes) {
		apply_names(agent);
		probe_set_drain(agent->probes);
		probe_set_collect(agent->probes, writer);
		self.probes = probe_set_probes(agent->probes, &self.n_probes);
		self.entities = entities_of(agent);
		naming_write_metrics(agent->naming, writer);
		if (agent->budget)
			budget_keeper_write_metrics(agent->budget, writer);
	}
	self_write_metrics(&self, writer);
	if (agent->server)
		self_write_http_metrics(agent->server, writer);
	health_report_write_metrics(report, writer);
	health_report_put(report);
	snapshot_put(previous);
	agent->collections++;
}

static void judge(struct agent *agent, struct snapshot *snapshot)
{
	struct health_probe states[16];
	char notes[16][160];
	struct probe *const *probes = NULL;
	size_t n = 0;

	if (agent->probes)
		probes = probe_set_probes(agent->probes, &n);
	if (n > sizeof(states) / sizeof(states[0]))
		n = sizeof(states) / sizeof(states[0]);
	for (size_t i = 0; i < n; i++)
		states[i] = (struct health_probe){
			.name = probe_description(probes[i])->name,
			.state = probe_state_name(probe_current_state(probes[i])),
			.reason = probe_reason(probes[i]),
			.note = budget_keeper_note(agent->budget, probes[i], notes[i],
						   sizeof(notes[i])),
		};
	if (health_observe(agent->health, snapshot, states, n, true))
		log_limited(LOG_LEVEL_ERROR, "health",
			    "out of memory: the last verdict stays in force");
}

static void collect_periodically(void *context)
{
	struct agent *agent = context;
	struct snapshot *snapshot = collector_collect(agent->collector);

	if (snapshot)
		judge(agent, snapshot);
}

static void drain(void *context)
{
	struct agent *agent = context;

	probe_set_drain(agent->probes);
}

static void log_change(void *context, const struct health_change *change)
{
	log_event(change->now > HEALTH_HEALTHY ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "health",
		  LOG_FIELDS({ "event", "health.status.changed" }, { "check", change->name },
			     { "before", health_status_name(change->before) },
			     { "now", health_status_name(change->now) }),
		  "%s is %s: %s", change->name, health_status_name(change->now), change->message);
}

/* Rings that fill up wake the loop; all others are drained by the timer. */
static int watch_rings(struct agent *agent)
{
	struct probe *const *probes;
	size_t n;
	int err = 0;

	probes = probe_set_probes(agent->probes, &n);
	for (size_t i = 0; i < n && !err; i++)
		if (probe_ring_fd(probes[i]) >= 0)
			err = loop_add_fd(agent->loop, probe_ring_fd(probes[i]), drain, agent);
	return err;
}

static void unwatch_rings(struct agent *agent)
{
	struct probe *const *probes;
	size_t n;

	probes = probe_set_probes(agent->probes, &n);
	for (size_t i = 0; i < n; i++)
		if (probe_ring_fd(probes[i]) >= 0)
			loop_remove_fd(agent->loop, probe_ring_fd(probes[i]));
}

/* A probe that is started, or started anew, has a ring of its own, and a share in the budget. */
static void before_probes_change(struct agent *agent)
{
	unwatch_rings(agent);
	budget_keeper_release(agent->budget);
}

static void after_probes_change(struct agent *agent, const struct config *config)
{
	int err;

	budget_keeper_adopt(agent->budget, config);
	err = watch_rings(agent);
	if (err)
		log_error("agent", "full rings no longer wake the loop: %s", strerror(-err));
}

static void maintain(void *context)
{
	struct agent *agent = context;

	naming_maintain(agent->naming);
	apply_names(agent);
	probe_set_maintain(agent->probes, agent->collections, forget_entity, agent);
	if (probe_set_watch(agent->probes)) {
		before_probes_change(agent);
		probe_set_wake(agent->probes);
		after_probes_change(agent, agent->config);
	}
}

/* ---- reload ---- */

static bool needs_restart(const char *key)
{
	static const char *const keys[] = { "listen",	    "interval",	     "max_age",	   "mode",
					    "max_entities", "entity_linger", "hooks.avoid" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (!strcmp(key, keys[i]))
			return true;
	return false;
}

/* Which series are wanted. 0, or -ENOMEM and then nothing has changed. */
static int apply_filter(struct agent *agent, const struct config *config)
{
	struct series_filter *filter;
	int err = metrics_filter_new(config, &filter);

	if (err)
		return err;
	if (entities_of(agent))
		entity_table_join(entities_of(agent), metrics_filter_joins_entities(filter));
	registry_set_filter(agent->registry, filter);
	return 0;
}

int agent_log_init(const struct config *config)
{
	return log_init(log_level_parse(config_string(config, "log.level")),
			log_format_parse(config_string(config, "log.format")),
			config_string(config, "log.file"));
}

static void apply_config(struct agent *agent, struct config *config)
{
	const char *changed[128];
	size_t n = config_changes(agent->config, config, changed,
				  sizeof(changed) / sizeof(changed[0]));
	int err;

	for (size_t i = 0; i < n && i < sizeof(changed) / sizeof(changed[0]); i++)
		log_info("config", "%s has changed%s", changed[i],
			 needs_restart(changed[i]) ? ": takes effect after a restart" : "");
	err = agent_log_init(config);
	if (err)
		log_error("config", "log.file %s: %s; the log goes where it went",
			  config_string(config, "log.file"), strerror(-err));
	if (agent->probes) {
		before_probes_change(agent);
		probe_set_reconfigure(agent->probes, config);
		after_probes_change(agent, config);
	}
	if (metrics_filter_differs(agent->config, config) && apply_filter(agent, config))
		log_error("agent", "out of memory: the same series as before are shown");
	health_configure(agent->health, config);
	routes_configure(agent->routes, config);
	config_free(agent->reloaded);
	agent->config = agent->reloaded = config;
}

/* A line each; `errors` is taken apart. */
static void log_lines(struct buffer *errors)
{
	char *saved = NULL;

	buffer_char(errors, '\0');
	if (buffer_error(errors))
		return;
	for (char *line = strtok_r(errors->data, "\n", &saved); line;
	     line = strtok_r(NULL, "\n", &saved))
		log_error("config", "not reloaded: %s", line);
}

/* SIGHUP: the log may have been rotated, the configuration changed. A bad one changes nothing. */
static void reload(void *context)
{
	struct agent *agent = context;
	struct buffer errors = {};
	struct config *config;

	if (log_reopen())
		log_error("log", "cannot reopen the log file");
	if (config_load(&agent->request, &config, &errors)) {
		log_lines(&errors);
	} else {
		apply_config(agent, config);
		log_info("config", "reloaded");
	}
	buffer_free(&errors);
}

/* ---- services for the HTTP thread ---- */

static struct snapshot *fresh_snapshot(void *context)
{
	struct agent *agent = context;

	return collector_fresh(agent->collector, agent->max_age_ns, SCRAPE_PATIENCE_NS);
}

static struct health_report *latest_report(void *context)
{
	struct agent *agent = context;

	return health_report_get(agent->health);
}

static uint64_t uptime_ns(void *context)
{
	struct agent *agent = context;

	return log_clock_ns() - agent->started_ns;
}

static uint64_t loop_age_ns(void *context)
{
	struct agent *agent = context;
	uint64_t last_ns = loop_last_turn_ns(agent->loop), now_ns = log_clock_ns();

	return now_ns > last_ns ? now_ns - last_ns : 0;
}

/* Tells the caller at once whether the new configuration is good; the loop then loads it itself, as on SIGHUP. */
static int request_reload(void *context, char *error, size_t error_size)
{
	struct agent *agent = context;
	struct buffer errors = {};
	struct config *config = NULL;
	int err = config_load(&agent->request, &config, &errors);

	if (err)
		snprintf(error, error_size, "%.*s", (int)errors.size,
			 errors.data ? errors.data : strerror(-err));
	config_free(config);
	buffer_free(&errors);
	if (!err && kill(getpid(), SIGHUP))
		err = -errno;
	return err;
}

/* ---- setting up ---- */

static void stop(void *context)
{
	struct agent *agent = context;

	log_info("agent", "stopping");
	loop_stop(agent->loop);
}

static int explain_missing_privileges(char *error, size_t error_size)
{
	size_t used = 0;

	for (const struct caps_fact *fact = caps_facts(); fact->name; fact++)
		if (fact->needed && !fact->ok && used < error_size)
			used += (size_t)snprintf(error + used, error_size - used, "%s%s: %s; %s",
						 used ? "\nleadline: " : "", fact->name,
						 fact->detail, fact->remedy);
	return used ? -EPERM : 0;
}

static int set_up_probes(struct agent *agent, char *error, size_t error_size)
{
	int err;

	if (is_disabled(agent)) {
		log_info("agent", "mode is disabled: nothing is attached");
		return 0;
	}
	err = explain_missing_privileges(error, error_size);
	if (!err)
		err = naming_new(agent->config, agent->loop, agent->outbound, &agent->naming, error,
				 error_size);
	if (!err)
		err = probe_set_new(agent->config, &agent->probes);
	if (!err) {
		/* before there are hooks of ours */
		agent->floor = budget_measure_floor(config_number(agent->config, "budget") > 0);
		err = probe_set_start(agent->probes, true, error, error_size);
	}
	return err;
}

static int set_up_loop(struct agent *agent)
{
	int err = loop_new(&agent->loop);

	if (!err)
		err = loop_add_signal(agent->loop, SIGTERM, stop, agent);
	if (!err)
		err = loop_add_signal(agent->loop, SIGINT, stop, agent);
	if (!err)
		err = loop_add_signal(agent->loop, SIGHUP, reload, agent);
	if (!err)
		err = loop_add_timer(agent->loop, (uint64_t)config_int(agent->config, "interval"),
				     collect_periodically, agent);
	return err;
}

static int set_up_judgement(struct agent *agent)
{
	agent->registry = registry_new(labels_of, agent);
	agent->health = health_new(agent->config);
	if (!agent->registry || !agent->health)
		return -ENOMEM;
	registry_on_leaving(agent->registry, is_leaving);
	health_on_change(agent->health, log_change, agent);
	return collector_new(agent->loop, agent->registry, write_values, agent, &agent->collector);
}

static int serve(struct agent *agent, char *error, size_t error_size)
{
	const struct agent_services services = {
		.context = agent,
		.fresh_snapshot = fresh_snapshot,
		.health = latest_report,
		.uptime_ns = uptime_ns,
		.loop_age_ns = loop_age_ns,
		.reload = request_reload,
		.rootfs = config_string(agent->config, "containers.rootfs"),
	};
	struct http_server_options options = {
		.listen = config_string(agent->config, "listen"),
		.routes = agent_routes,
		.quiet = routes_quiet,
	};

	agent->routes = routes_new(&services);
	if (!agent->routes)
		return -ENOMEM;
	routes_configure(agent->routes, agent->config);
	options.context = agent->routes;
	return http_server_start(&options, &agent->server, error, error_size);
}

int agent_new(const struct config_request *request, const struct config *config,
	      struct agent **ret_agent, char *error, size_t error_size)
{
	struct agent *agent = calloc(1, sizeof(*agent));
	int err;

	if (!agent)
		return -ENOMEM;
	agent->request = *request;
	agent->config = config;
	agent->started_ns = log_clock_ns();
	agent->max_age_ns = (uint64_t)config_int(config, "max_age");
	log_capture_libbpf();
	signal(SIGPIPE, SIG_IGN);
	err = set_up_loop(agent); /* first: it blocks signals for the threads to come */
	if (!err)
		err = outbound_new(&agent->outbound);
	if (!err)
		err = set_up_judgement(agent);
	if (!err)
		err = set_up_probes(agent, error, error_size);
	if (!err)
		err = apply_filter(agent, config);
	if (!err && agent->probes)
		err = watch_rings(agent);
	if (!err && agent->probes)
		err = loop_add_timer(agent->loop, DRAIN_INTERVAL_NS, drain, agent);
	if (!err && agent->probes)
		err = loop_add_timer(agent->loop, MAINTAIN_INTERVAL_NS, maintain, agent);
	if (!err)
		err = outbound_start(agent->outbound);
	if (err)
		goto fail;
	if (agent->probes)
		err = budget_keeper_new(agent->loop, agent->probes, agent->config, &agent->floor,
					&agent->budget);
	if (err)
		goto fail;
	collect_periodically(agent); /* so that there is something to serve and to judge by */
	err = serve(agent, error, error_size);
	if (err)
		goto fail;
	log_info("agent", "serving on http://%s", http_server_address(agent->server));
	*ret_agent = agent;
	return 0;

fail:
	agent_free(agent);
	return err;
}

int agent_run(struct agent *agent)
{
	if (agent->probes)
		maintain(agent); /* at once: probes on demand have waited for the others only */
	return loop_run(agent->loop);
}

void agent_free(struct agent *agent)
{
	if (!agent)
		return;
	if (agent->collector)
		collector_shut_down(agent->collector);
	http_server_stop(agent->server);
	outbound_stop(agent->outbound);
	routes_free(agent->routes);
	budget_keeper_free(agent->budget);
	probe_set_free(agent->probes);
	collector_free(agent->collector);
	registry_free(agent->registry);
	health_free(agent->health);
	naming_free(agent->naming);
	outbound_free(agent->outbound);
	loop_free(agent->loop);
	config_free(agent->reloaded);
	free(agent);
}
