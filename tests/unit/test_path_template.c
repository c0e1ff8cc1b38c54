// SPDX-License-Identifier: Apache-2.0
/* Routes from paths: what is folded, what is not, and that any number of different paths makes a bounded number of names. */
#include "tests/harness/harness.h"
#include "probes/protocols/path_template.h"

static const struct {
	const char *target, *expected;
} samples[] = {
	/* words stay */
	{ "/", "/" },
	{ "/index.html", "/index.html" },
	{ "/api/v1/users", "/api/v1/users" },
	{ "/api/v1.2/users", "/api/v1.2/users" },
	{ "/oauth2/token", "/oauth2/token" },
	{ "/sha256/h264/mp3/s3", "/sha256/h264/mp3/s3" },
	{ "/wp-content/themes/twenty-one", "/wp-content/themes/twenty-one" },
	{ "/facade/decade/feed", "/facade/decade/feed" },
	{ "/.well-known/openid-configuration", "/.well-known/openid-configuration" },
	{ "/caf%C3%A9", "/caf%C3%A9" },
	{ "/~user", "/~user" },
	{ "/shop.Cart/AddItem", "/shop.Cart/AddItem" },
	/* what is not of the path goes */
	{ "/users?id=4711", "/users" },
	{ "/users#top", "/users" },
	{ "?x", "" },
	{ "/cart;jsessionid=0123/pay;x", "/cart/pay" },
	{ "/a//b/", "/a/b" },
	{ "///", "/" },
	{ "http://shop.example:8080/cart/17?x", "/cart/{id}" },
	{ "https://shop.example", "/" },
	{ "https://shop.example?x=/y", "/" },
	{ "/go/http://shop.example/", "/go/http:/shop.example" },
	{ "*", "*" },
	{ "shop.example:443", "" },
	{ "", "" },
	/* values */
	{ "/users/4711/orders", "/users/{id}/orders" },
	{ "/users/0", "/users/{id}" },
	{ "/at/-12.75/8,25", "/at/{number}/{number}" },
	{ "/users/123e4567-e89b-12d3-a456-426614174000", "/users/{uuid}" },
	{ "/users/123E4567-E89B-12D3-A456-426614174000.json", "/users/{uuid}.json" },
	{ "/users/order-123e4567-e89b-12d3-a456-426614174000", "/users/order-{uuid}" },
	{ "/commit/da39a3ee5e6b4b0d3255bfef95601890afd80709", "/commit/{hash}" },
	{ "/commit/deadbeef1", "/commit/{hash}" },
	{ "/object/507f1f77bcf86cd799439011", "/object/{hash}" },
	{ "/tx/0xdeadbeef", "/tx/{hash}" },
	{ "/static/app.3f2a9c1b.js", "/static/app.{hash}.js" },
	{ "/watch/dQw4w9WgXcQ", "/watch/{token}" },
	{ "/customers/cus_9s6XKzkNRiz8i3", "/customers/cus_{token}" },
	{ "/ulid/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/ulid/{token}" },
	{ "/invoice-2026-0042.pdf", "/invoice-{id}.pdf" },
	{ "/item4711", "/{id}" },
	{ "/page-2", "/page-{id}" },
	{ "/events/2026-11-27", "/events/{date}" },
	{ "/events/2026-11-27T01:02:03.456+01:00", "/events/{date}" },
	{ "/events/2026-11-27T01%3A02%3A03Z/x", "/events/{date}/x" },
	{ "/mail/ann@example.org", "/mail/{email}" },
	{ "/mail/ann%40example.org", "/mail/{email}" },
	{ "/search/caf%C3%A9%20au%20lait", "/search/{text}" },
	{ "/search/a b", "/search/{text}" },
	{ "/search/\xc3\xa9", "/search/{text}" },
	{ "/search/{id}", "/search/{text}" },
	{ "/search/a\"b", "/search/{text}" },
	{ "/blog/how-we-made-the-checkout-of-our-shop-twice-as-fast", "/blog/{text}" },
	{ "/eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "/{token}" },
	/* and no more than so much */
	{ "/a/b/c/d/e/f/g/h", "/a/b/c/d/e/f/g/h" },
	{ "/a/b/c/d/e/f/g/h/", "/a/b/c/d/e/f/g/h" },
	{ "/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/{rest}" },
	{ "/abcdefghijklmnopqrst-abcdefghij/abcdefghijklmnopqrst-abcdefghij/abcdefghijklmnopqrst-abcdefghij",
	  "/abcdefghijklmnopqrst-abcdefghij/abcdefghijklmnopqrst-abcdefghij/{text}" },
};

static void test_samples(void **state)
{
	char template[PATH_TEMPLATE_SIZE];

	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		size_t size = strlen(samples[i].target);
		char *exact = malloc(size + 1);

		assert_non_null(exact);
		memcpy(exact, samples[i].target, size);
		path_template(exact, size, template);
		free(exact);
		assert_string_equal(template, samples[i].expected);
	}
}

/* Whatever the bytes: printable, bounded, and a template is its own template's, but for the braces. */
static void test_any_bytes(void **state)
{
	static const char alphabet[] = "//a1-.%@;Zf0{~:?_\x01\xff";
	uint64_t random = 1;

	for (unsigned round = 0; round < 50021; round++) {
		char template[PATH_TEMPLATE_SIZE], target[200];
		size_t size = round % sizeof(target);

		for (size_t i = 0; i < size; i++) {
			random = random * 6364136223846793005ULL + 1442695040888963407ULL;
			target[i] = alphabet[(random >> 33) % (sizeof(alphabet) - 1)];
		}
		if (size)
			target[0] = '/';
		path_template(target, size, template);
		assert_true(strlen(template) < PATH_TEMPLATE_SIZE);
		assert_true(size ? template[0] == '/' : !template[0]);
		for (const char *c = template; *c; c++)
			assert_true(*c > ' ' && *c <= '~');
	}
}

static void find(struct path_table *table, const char *target, bool may_add, const char *expected)
{
	char template[PATH_TEMPLATE_SIZE], name[PATH_TEMPLATE_SIZE];

	path_template(target, strlen(target), template);
	path_table_find(table, template, may_add, name);
	assert_string_equal(name, expected);
}

static void test_table(void **state)
{
	struct path_table *table = path_table_create(10, 3);

	assert_non_null(table);
	find(table, "*", true, "*");
	find(table, "proxy:443", true, "");
	find(table, "/articles/new-shop", false, "/{rest}");
	find(table, "/articles/new-shop/comments", true, "/articles/new-shop/comments");
	/* a way to a template is none yet */
	find(table, "/articles/new-shop", false, "/{rest}");
	find(table, "/articles/new-shop", true, "/articles/new-shop");
	find(table, "/articles/old-shop", true, "/articles/old-shop");
	find(table, "/articles/our-team", true, "/articles/our-team");
	find(table, "/articles/a-fourth", true, "/articles/{other}");
	find(table, "/articles/a-fifth/comments", true, "/articles/{other}/comments");
	/* what has a name keeps it */
	find(table, "/articles/new-shop", true, "/articles/new-shop");
	find(table, "/articles/old-shop", false, "/articles/old-shop");
	find(table, "/articles/a-sixth", false, "/articles/{other}");
	find(table, "/", true, "/");
	find(table, "/users/17", true, "/users/{id}");
	assert_int_equal(path_table_templates(table), 8);
	find(table, "/1/2", true, "/{other}/{id}");
	find(table, "/2/x", true, "/{other}/x");
	assert_int_equal(path_table_templates(table), 10);
	find(table, "/users/18/orders", true, "/{rest}");
	find(table, "/users/18", true, "/users/{id}");
	find(table, "/", true, "/");
	assert_int_equal(path_table_templates(table), 10);
	path_table_destroy(table);
	path_table_destroy(NULL);
}

/* A million paths that no rule folds. */
static void test_million_paths(void **state)
{
	static const char *const before[] = { "/", "/articles/", "/shop/", "/" };
	static const char *const after[] = { "", "", "/comments", "/x/y" };
	enum { PATHS = 1000003, TEMPLATES = 101 };
	struct path_table *table = path_table_create(TEMPLATES, 47);
	char(*names)[PATH_TEMPLATE_SIZE] = calloc(TEMPLATES + 1, sizeof(*names));
	size_t n_names = 0;

	assert_non_null(table);
	assert_non_null(names);
	for (unsigned i = 0; i < PATHS; i++) {
		char word[8], target[64], template[PATH_TEMPLATE_SIZE], name[PATH_TEMPLATE_SIZE];
		size_t known = 0;

		for (unsigned letter = 0, rest = i; letter < 5; letter++, rest /= 26)
			word[letter] = (char)('a' + rest % 26);
		word[5] = '\0';
		snprintf(target, sizeof(target), "%s%s%s", before[i % 4], word, after[i % 4]);
		path_template(target, strlen(target), template);
		assert_string_equal(template, target);
		path_table_find(table, template, true, name);
		while (known < n_names && strcmp(names[known], name) != 0)
			known++;
		if (known == n_names) {
			assert_true(n_names <= TEMPLATES);
			n_names++;
		}
		/* to the front: most are the same few */
		memmove(names[1], names[0], known * sizeof(names[0]));
		memcpy(names[0], name, sizeof(name));
	}
	assert_true(path_table_templates(table) <= TEMPLATES);
	assert_int_equal(n_names, path_table_templates(table) + 1); /* and "/{rest}" */
	free(names);
	path_table_destroy(table);
}

static void targets_of_lines(void **state)
{
	static const struct {
		const char *line, *target, *template;
		bool is_cut;
	} lines[] = {
		{ "GET /users/17?x HTTP/1.1\r\nHost: shop", "/users/17?x", "/users/{id}", false },
		{ "GET / HTTP/1.0\n", "/", "/", false },
		{ "GET /users/17/ord", "/users/17/ord", "/users/{id}/{rest}", true },
		{ "GET /users/17?full=", "/users/17?full=", "/users/{id}", true },
		{ "GET /\r\n", "/", "/", false },
		{ "GET", "", "", true },
		{ "", "", "", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		size_t size = strlen(lines[i].line);
		char *exact = malloc(size ? size : 1), template[PATH_TEMPLATE_SIZE];
		struct path_target target;

		assert_non_null(exact);
		memcpy(exact, lines[i].line, size);
		target = path_target_of_line(exact, size);
		assert_int_equal(target.size, strlen(lines[i].target));
		assert_memory_equal(target.text, lines[i].target, target.size);
		assert_int_equal(target.is_cut, lines[i].is_cut);
		path_template_of(&target, template);
		assert_string_equal(template, lines[i].template);
		free(exact);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(targets_of_lines),   cmocka_unit_test(test_samples),
		cmocka_unit_test(test_any_bytes),     cmocka_unit_test(test_table),
		cmocka_unit_test(test_million_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
