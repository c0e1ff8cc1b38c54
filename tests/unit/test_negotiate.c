// SPDX-License-Identifier: Apache-2.0
/* Content negotiation, with the headers that real clients send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "agent/config.h"
#include "exporters/negotiate.h"

#define OPENMETRICS "application/openmetrics-text"

#define PROTOBUF "application/vnd.google.protobuf"
#define FAMILY	 ";proto=io.prometheus.client.MetricFamily"

struct preference {
	const char *accept;
	const char *encoder;
};

static void assert_preferences(const struct preference *cases, size_t n, encoder_set offered)
{
	for (size_t i = 0; i < n; i++) {
		const char *name = negotiate_encoder(cases[i].accept, offered)->name;

		if (strcmp(name, cases[i].encoder))
			fail_msg("Accept: %s: %s, wanted %s", cases[i].accept, name,
				 cases[i].encoder);
	}
}

static void formats(void **state)
{
	static const struct preference cases[] = {
		{ NULL, "prometheus" },
		{ "", "prometheus" },
		/* Prometheus 2.42, 2.42 with native histograms, 2.5 to 2.30, 3.x */
		{ OPENMETRICS ";version=1.0.0," OPENMETRICS
			      ";version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		  "openmetrics" },
		{ "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited," OPENMETRICS
		  ";version=1.0.0;q=0.8," OPENMETRICS
		  ";version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		  "openmetrics" },
		{ OPENMETRICS "; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		  "prometheus" },
		{ OPENMETRICS
		  ";version=1.0.0;escaping=allow-utf-8;q=0.6," OPENMETRICS
		  ";version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
		  "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
		  "openmetrics" },
		{ "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
		  "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.2",
		  "prometheus" },
		/* Prometheus 2.49.0 had a quality above 1 for the rest */
		{ OPENMETRICS ";version=1.0.0;q=0.5," OPENMETRICS
			      ";version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=2",
		  "openmetrics" },
		/* curl, Firefox, Chromium, Python, a script */
		{ "*/*", "prometheus" },
		{ "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
		  "prometheus" },
		{ "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
		  "application/signed-exchange;v=b3;q=0.7",
		  "prometheus" },
		{ "application/json", "json" },
		{ "application/json, text/plain, */*", "json" },
		{ "Application/JSON; charset=utf-8", "json" },
		/* versions */
		{ OPENMETRICS, "openmetrics" },
		{ OPENMETRICS "; version=\"1.0.0\" ; charset=utf-8", "openmetrics" },
		{ OPENMETRICS "; version=2.0.0", "prometheus" },
		{ "text/plain", "prometheus" },
		{ "text/plain;version=0.0.3, application/json;q=0.1", "json" },
		/* order and weights */
		{ "application/json;q=0.5, text/plain;q=0.4", "json" },
		{ "application/json;q=0.4, text/plain;q=0.5", "prometheus" },
		{ "application/json, " OPENMETRICS, "json" },
		{ OPENMETRICS ", application/json", "openmetrics" },
		{ "application/*", "openmetrics" },
		{ "text/*;q=0.2, application/*;q=0.3, application/openmetrics-text;q=0", "json" },
		{ "text/plain;q=0, */*", "openmetrics" },
		{ "*/*;q=0.9, application/json;q=0.901", "json" },
		{ "application/json;q=1.000, text/plain", "json" },
		/* nobody's: the first answers */
		{ "image/png", "prometheus" },
		{ "*/*;q=0", "prometheus" },
		/* malformed */
		{ "application/json;q=1.001, text/plain;q=0.1", "prometheus" },
		{ "application/json;q=, text/plain;q=0.1", "prometheus" },
		{ "application/json;q=abc, text/plain;q=0.1", "prometheus" },
		{ "application/json;q=0.5x, text/plain;q=0.1", "prometheus" },
		{ ",,;;==,\"", "prometheus" },
		{ "application/json;q", "prometheus" },
		{ "application/json;version=\"1,2;3\\\"", "json" },
		{ "application/json;a=\"b\"garbage,text/plain;q=0.1", "json" },
		{ "application/js", "prometheus" },
		{ "a*", "prometheus" },
	};

	assert_preferences(cases, sizeof(cases) / sizeof(cases[0]), encoders_offered(NULL));
}

/* The configuration with that line. */
static struct config *configure(const char *yaml)
{
	struct buffer errors = { 0 };
	struct config *config;

	if (config_parse(config_tables(), "test", yaml, strlen(yaml), &config, &errors))
		fail_msg("%.*s", (int)errors.size, errors.data);
	return config;
}

/* Asked for and allowed, both: then protobuf, and all else as without it. */
static void protobuf_where_allowed(void **state)
{
	static const struct preference cases[] = {
		{ NULL, "prometheus" },
		{ "*/*", "prometheus" },
		{ "text/plain;q=0, */*", "openmetrics" },
		{ OPENMETRICS ";version=1.0.0," OPENMETRICS
			      ";version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		  "openmetrics" },
		/* Prometheus 2.42 with native histograms, 3.x, and 3.x that is told to prefer another format */
		{ PROTOBUF FAMILY ";encoding=delimited," OPENMETRICS
				  ";version=1.0.0;q=0.8," OPENMETRICS
				  ";version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
		  "protobuf" },
		{ PROTOBUF FAMILY
		  ";encoding=delimited;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.4,*/*;q=0.2",
		  "protobuf" },
		{ PROTOBUF FAMILY ";encoding=delimited;q=0.5," OPENMETRICS ";version=1.0.0;q=0.6",
		  "openmetrics" },
		{ PROTOBUF, "protobuf" },
		/* other encodings and messages of that media type */
		{ PROTOBUF FAMILY ";encoding=text,text/plain;q=0.1", "prometheus" },
		{ PROTOBUF FAMILY ";encoding=compact-text", "prometheus" },
		{ PROTOBUF ";proto=a.b;encoding=delimited," OPENMETRICS ";q=0.1", "openmetrics" },
		{ PROTOBUF FAMILY ";a=1;b=2;c=3;d=4;encoding=delimited", "protobuf" },
	};
	struct config *config = configure("metrics: {native_histograms: true}");
	encoder_set offered = encoders_offered(config);

	assert_preferences(cases, sizeof(cases) / sizeof(cases[0]), offered);
	assert_true(encoder_is_offered(offered, &encoder_prometheus_proto));
	config_free(config);

	config = configure("log: {level: INFO}");
	offered = encoders_offered(config);
	assert_int_equal(offered, encoders_offered(NULL));
	assert_false(encoder_is_offered(offered, &encoder_prometheus_proto));
	assert_true(encoder_is_offered(offered, &encoder_json));
	config_free(config);
}

/* A header as long as one can be is one more list. */
static void long_header(void **state)
{
	static char accept[400000];
	size_t at = 0;

	while (at + 32 < sizeof(accept))
		at += (size_t)sprintf(accept + at, "a/b,");
	strcpy(accept + at, "application/json;q=0.001");
	assert_string_equal(negotiate_encoder(accept, encoders_offered(NULL))->name, "json");
}

static void compression(void **state)
{
	static const struct {
		const char *accept_encoding;
		bool gzip;
	} cases[] = {
		{ NULL, false },
		{ "", false },
		{ "gzip", true },
		{ "GZIP", true },
		{ "x-gzip", true },
		{ "gzip, deflate, br, zstd", true },
		{ "deflate, gzip;q=1.0, *;q=0.5", true },
		{ "br;q=1.0, gzip;q=0.8, *;q=0.1", true },
		{ "*", true },
		{ "identity", false },
		{ "deflate, br", false },
		{ "gzip;q=0", false },
		{ "gzip;q=0.000, *", false },
		{ "gzip;q=0.5, identity", false },
		{ "gzip, identity", true },
		{ "identity;q=0.5, gzip;q=0.6", true },
		{ "*;q=0, gzip", true },
		{ "gzipped", false },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (negotiate_gzip(cases[i].accept_encoding) != cases[i].gzip)
			fail_msg("Accept-Encoding: %s", cases[i].accept_encoding);
}

static void by_name(void **state)
{
	size_t i;

	for (i = 0; i < n_encoders; i++)
		assert_ptr_equal(encoder_named(encoders[i]->name), encoders[i]);
	assert_null(encoder_named(""));
	assert_null(encoder_named("xml"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats),     cmocka_unit_test(protobuf_where_allowed),
		cmocka_unit_test(long_header), cmocka_unit_test(compression),
		cmocka_unit_test(by_name),
	};

	return cmocka_run_group_tests_name("negotiate", tests, NULL, NULL);
}
