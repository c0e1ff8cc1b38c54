// SPDX-License-Identifier: Apache-2.0
/* Requests as text; see requests.h. What is printed came over the network: nothing of it steers the terminal. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "agent/buffer.h"
#include "agent/cli/requests.h"
#include "agent/json_stream.h"
#include "agent/utf8.h"

#define NO_NUMBER "-"

const char *requests_show_seconds(double seconds, char out[16])
{
	static const struct {
		double from, unit;
		const char *name;
	} units[] = { { 0.9995, 1, "s" },
		      { 0.9995e-3, 1e-3, "ms" },
		      { 0.9995e-6, 1e-6, "us" },
		      { 0, 1e-9, "ns" } };
	size_t i = 0;

	if (!isfinite(seconds) || seconds < 0) {
		snprintf(out, 16, NO_NUMBER);
		return out;
	}
	while (seconds < units[i].from)
		i++;
	seconds /= units[i].unit;
	snprintf(out, 16, "%.*f%s",
		 seconds < 9.995   ? 2
		 : seconds < 99.95 ? 1
				   : 0,
		 seconds, units[i].name);
	return out;
}

static double number_of(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_text(object, key);

	return text ? text : "";
}

/* Without control characters, at most so many characters: a longer one ends in "…". 0: as long as it is. */
static void add_text(struct buffer *out, const char *text, size_t width)
{
	const char *end = text;
	size_t n = 0, length;

	while (*end && (!width || n < width)) {
		length = utf8_sequence(end);
		end += length ? length : 1;
		n++;
	}
	if (*end && n) { /* make room for the dots */
		do
			end--;
		while (end > text && ((unsigned char)*end & 0xc0) == 0x80);
	}
	for (; text < end; text++)
		buffer_char(out, (unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
	if (*end)
		buffer_string(out, "…");
}

/* The same, filled up with blanks; texts that are wider than that are no words of the agent's, and not in line. */
static void add_column(struct buffer *out, const char *text, size_t width)
{
	size_t length = strlen(text);

	add_text(out, text, width);
	buffer_printf(out, "%*s ", length < width ? (int)(width - length) : 0, "");
}

/* What is called by the most telling of its labels. */
static const char *service_of(const json_t *owner)
{
	static const char *const labels[] = { "pod", "container", "unit" };
	const json_t *names = json_object_get(owner, "labels");

	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
		if (*text_of(names, labels[i]))
			return text_of(names, labels[i]);
	return "";
}

static void add_service(struct buffer *out, const json_t *owner)
{
	const char *service = service_of(owner), *name = strrchr(service, '/');
	const char *program = text_of(json_object_get(owner, "labels"), "comm");

	if (name && name[1]) /* of a control group the last part */
		service = name + 1;
	if (*service && *program) {
		add_text(out, service, 24);
		buffer_char(out, '/');
	}
	add_text(out, *program ? program : service, 24);
}

/* Prints a line, cut at the width of the screen. */
static void print_line(const struct requests_screen *screen, const struct buffer *line)
{
	struct buffer cut = { 0 };
	char end = '\0';

	buffer_append(&cut, line->data, line->size);
	buffer_append(&cut, &end, 1);
	if (buffer_error(&cut))
		return;
	if (screen->columns) {
		struct buffer shown = { 0 };

		add_text(&shown, cut.data, screen->columns);
		fwrite(shown.data, 1, buffer_error(&shown) ? 0 : shown.size, screen->out);
		buffer_free(&shown);
	} else {
		fputs(cut.data, screen->out);
	}
	fputc('\n', screen->out);
	buffer_free(&cut);
}

/* ---- routes ---- */

struct line {
	const json_t *service, *route; /* route: NULL where nothing is counted yet */
};

static double rate_of(const struct line *line)
{
	double rate = line->route ? number_of(line->route, "rate") : 0;

	return isfinite(rate) ? rate : 0;
}

static int compare_lines(const void *a_, const void *b_)
{
	const struct line *a = a_, *b = b_;
	double rate_a = rate_of(a), rate_b = rate_of(b);
	double oldest_a = number_of(a->service, "oldest_seconds");
	double oldest_b = number_of(b->service, "oldest_seconds");

	if (rate_a != rate_b)
		return rate_a < rate_b ? 1 : -1;
	return oldest_a < oldest_b ? 1 : oldest_a > oldest_b ? -1 : 0;
}

/* A table of what happens now: idle routes are left out, but for services where something hangs. */
static struct line *pick_lines(const json_t *page, size_t *ret_n)
{
	const json_t *services = json_object_get(page, "services"), *service, *route;
	size_t i, j, n = 0, room = 0;
	struct line *lines;

	json_array_foreach(services, i, service) room +=
		json_array_size(json_object_get(service, "routes")) + 1;
	lines = calloc(room + 1, sizeof(*lines));
	if (!lines)
		return NULL;
	json_array_foreach(services, i, service)
	{
		size_t before = n;

		json_array_foreach(json_object_get(service, "routes"), j, route)
		{
			if (number_of(route, "rate") > 0)
				lines[n++] = (struct line){ service, route };
		}
		if (n == before && number_of(service, "in_flight") > 0)
			lines[n++] = (struct line){ service, NULL };
	}
	qsort(lines, n, sizeof(*lines), compare_lines);
	*ret_n = n;
	return lines;
}

static void add_count(struct buffer *out, double value)
{
	if (isfinite(value))
		buffer_printf(out, " %8.0f", value);
	else
		buffer_printf(out, " %8s", NO_NUMBER);
}

static void add_rate(struct buffer *out, double rate)
{
	if (isfinite(rate))
		buffer_printf(out, " %9.*f", rate && rate < 99.95 ? 1 : 0, rate);
	else
		buffer_printf(out, " %9s", NO_NUMBER);
}

static void add_seconds(struct buffer *out, double seconds)
{
	char text[16];

	buffer_printf(out, " %8s", requests_show_seconds(seconds, text));
}

/* "GET /users/{id}" */
static void add_what(struct buffer *out, const json_t *request, const char *key)
{
	add_text(out, text_of(request, "operation"), 0);
	if (*text_of(request, "operation") && *text_of(request, key))
		buffer_char(out, ' ');
	add_text(out, text_of(request, key), 0);
}

static void print_route(const struct requests_screen *screen, const struct line *line)
{
	double oldest = number_of(line->service, "oldest_seconds");
	struct buffer out = { 0 };

	add_rate(&out, line->route ? number_of(line->route, "rate") : 0);
	add_rate(&out, line->route ? number_of(line->route, "error_rate") : 0);
	add_seconds(&out, line->route ? number_of(line->route, "p50_seconds") : NAN);
	add_seconds(&out, line->route ? number_of(line->route, "p99_seconds") : NAN);
	add_count(&out, number_of(line->service, "in_flight"));
	add_seconds(&out, oldest > 0 ? oldest : NAN);
	add_rate(&out, number_of(line->service, "requests_per_connection"));
	buffer_string(&out, "  ");
	add_column(&out, text_of(line->service, "side"), 6);
	add_column(&out, line->route ? text_of(line->route, "protocol") : "", 10);
	add_service(&out, line->service);
	buffer_string(&out, "  ");
	if (line->route)
		add_what(&out, line->route, "route");
	print_line(screen, &out);
	buffer_free(&out);
}

void requests_print_routes(const json_t *page, const struct requests_screen *screen)
{
	size_t n = 0;
	struct line *lines = pick_lines(page, &n);
	struct buffer head = { 0 };

	if (!lines)
		return;
	buffer_printf(&head, "%10s %9s %8s %8s %8s %8s %9s  %-6s %-10s %s", "REQUESTS/s",
		      "ERRORS/s", "P50", "P99", "INFLIGHT", "OLDEST", "PER CONN", "SIDE",
		      "PROTOCOL", "SERVICE  ROUTE");
	print_line(screen, &head);
	buffer_free(&head);
	for (size_t i = 0; i < n; i++) {
		if (screen->rows && i + 2 > screen->rows && i + 1 < n) {
			fprintf(screen->out, "… and %zu more\n", n - i);
			break;
		}
		print_route(screen, &lines[i]);
	}
	if (!n)
		fprintf(screen->out, "No requests in the last %.0f s.\n",
			number_of(page, "seconds"));
	free(lines);
}

/* ---- slow ones ---- */

struct wait {
	const char *reason;
	double seconds;
};

static int compare_waits(const void *a_, const void *b_)
{
	const struct wait *a = a_, *b = b_;

	return a->seconds < b->seconds ? 1 : a->seconds > b->seconds ? -1 : 0;
}

/* " (10.0.0.1:5432 postgresql 17.0ms · 10.0.0.2:80 http 1.20ms)" */
static void add_downstreams(struct buffer *out, const json_t *request)
{
	const json_t *downstreams = json_object_get(request, "downstreams"), *one;
	size_t i;

	json_array_foreach(downstreams, i, one)
	{
		char text[16];

		buffer_string(out, i ? " · " : " (");
		add_text(out, text_of(one, "peer"), 0);
		if (*text_of(one, "protocol"))
			buffer_char(out, ' ');
		add_text(out, text_of(one, "protocol"), 0);
		buffer_printf(out, " %s", requests_show_seconds(number_of(one, "seconds"), text));
	}
	if (json_array_size(downstreams))
		buffer_char(out, ')');
}

/* "sleep 20.1ms · on_cpu 1.20ms", what took longest first, without what is less than a thousandth. */
static void add_waits(struct buffer *out, const json_t *request)
{
	json_t *waits = json_object_get(request, "waits"), *value;
	double least = number_of(request, "duration_seconds") / 1000;
	struct wait list[32] = { { 0 } };
	const char *reason;
	size_t n = 0;

	json_object_foreach(waits, reason, value)
	{
		if (n < sizeof(list) / sizeof(list[0]) && json_number_value(value) >= least)
			list[n++] = (struct wait){ reason, json_number_value(value) };
	}
	qsort(list, n, sizeof(list[0]), compare_waits);
	for (size_t i = 0; i < n; i++) {
		char text[16];

		buffer_string(out, i ? " · " : "");
		add_text(out, list[i].reason, 0);
		buffer_printf(out, " %s", requests_show_seconds(list[i].seconds, text));
		if (!strcmp(list[i].reason, "outbound"))
			add_downstreams(out, request);
	}
}

/* "1234 B", "56.7 kB": powers of a thousand. */
static void add_bytes(struct buffer *out, const char *what, double bytes)
{
	static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
	unsigned unit = 0;

	if (!isfinite(bytes))
		return;
	for (; bytes >= 10000 && unit < 4; unit++)
		bytes /= 1000;
	buffer_printf(out, "; %s %.*f %s", what, unit ? 1 : 0, bytes, units[unit]);
}

static void print_details(const struct requests_screen *screen, const json_t *request)
{
	double first_byte = number_of(request, "first_byte_seconds");
	double connect = number_of(request, "connect_seconds");
	double rtt = number_of(request, "rtt_seconds");
	double retransmits = number_of(request, "retransmits");
	static const char indent[] = "            ";
	struct buffer out = { 0 };
	char text[16];

	buffer_string(&out, indent);
	add_waits(&out, request);
	if (isfinite(connect))
		buffer_printf(&out, "%sconnect %s before", out.size < sizeof(indent) ? "" : "; ",
			      requests_show_seconds(connect, text));
	if (isfinite(first_byte))
		buffer_printf(&out, "%sfirst byte %s", out.size < sizeof(indent) ? "" : "; ",
			      requests_show_seconds(first_byte, text));
	if (out.size >= sizeof(indent)) {
		add_bytes(&out, "request", number_of(request, "request_bytes"));
		add_bytes(&out, "response", number_of(request, "response_bytes"));
	}
	if (*text_of(request, "peer")) {
		buffer_string(&out, out.size < sizeof(indent) ? "peer " : "; peer ");
		add_text(&out, text_of(request, "peer"), 0);
	}
	if (isfinite(rtt))
		buffer_printf(&out, ", rtt %s", requests_show_seconds(rtt, text));
	if (retransmits > 0)
		buffer_printf(&out, ", %.0f retransmits", retransmits);
	if (out.size >= sizeof(indent))
		print_line(screen, &out);
	buffer_free(&out);
}

static void print_slow(const struct requests_screen *screen, const json_t *request)
{
	const char *time = text_of(request, "time");
	const char *status = text_of(request, "status"), *error = text_of(request, "error");
	double tid = number_of(request, "tid");
	char text[16], clock[sizeof("12:00:00.123")];
	struct buffer out = { 0 };

	snprintf(clock, sizeof(clock), "%s", strlen(time) > 11 ? time + 11 : time);
	buffer_printf(&out, "%10s  ",
		      requests_show_seconds(number_of(request, "duration_seconds"), text));
	add_column(&out, clock, sizeof(clock) - 1);
	add_column(&out, *status ? status : *error ? error : "ok", 0);
	add_column(&out, text_of(request, "side"), 0);
	add_column(&out, text_of(request, "protocol"), 0);
	add_service(&out, request);
	if (isfinite(tid))
		buffer_printf(&out, "[%.0f]", tid);
	buffer_string(&out, "  ");
	add_what(&out, request, *text_of(request, "target") ? "target" : "route");
	print_line(screen, &out);
	buffer_free(&out);
	print_details(screen, request);
}

void requests_print_slow(const json_t *page, const struct requests_screen *screen)
{
	const json_t *slow = json_object_get(page, "slow"), *request;
	size_t i;

	json_array_foreach(slow, i, request)
	{
		if (screen->rows && 2 * i + 2 > screen->rows)
			break;
		print_slow(screen, request);
	}
	if (!json_array_size(slow))
		fputs("No requests in this minute and the one before, or the probe that sees them is off "
		      "(probes.requests.enabled, probes.requests.slow).\n",
		      screen->out);
}
