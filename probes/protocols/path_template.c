// SPDX-License-Identifier: Apache-2.0
/*
 * path_template(): a segment is cut into parts at punctuation; a part that looks like a value is folded, and of folded ones
 * side by side one is left: "invoice-2026-0042.pdf" is "invoice-{id}.pdf".
 */
#include <stdint.h>
#include <string.h>
#include "probes/protocols/path_template.h"

#define MAX_SEGMENT 40 /* bytes of a segment that is still a word, or words */
#define MAX_ESCAPES 2 /* %XX in such a segment */

struct text {
	const char *at;
	size_t size;
};

/* A kind of value. */
struct fold {
	size_t size; /* how much of the text it is; 0: none */
	const char *name;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Of a part, not between parts. */
static bool is_word(char c)
{
	return is_digit(c) || is_letter(c) || c == '%';
}

static size_t run(struct text text, bool (*is_one)(char))
{
	size_t n = 0;

	while (n < text.size && is_one(text.at[n]))
		n++;
	return n;
}

static bool starts_with(struct text text, const char *prefix)
{
	size_t size = strlen(prefix);

	return text.size >= size && !memcmp(text.at, prefix, size);
}

/* Does it begin as the pattern says? x is a hexadecimal digit, 9 a decimal one. */
static bool matches(struct text text, const char *pattern)
{
	size_t size = strlen(pattern);

	if (text.size < size)
		return false;
	for (size_t i = 0; i < size; i++) {
		char c = text.at[i];

		if (pattern[i] == 'x'	? !is_hex(c)
		    : pattern[i] == '9' ? !is_digit(c)
					: c != pattern[i])
			return false;
	}
	return true;
}

/* What is more than a part: a value with punctuation in it. */
static struct fold fold_composite(struct text text)
{
	static const char uuid[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", date[] = "9999-99-99";

	if (matches(text, uuid) &&
	    (text.size == sizeof(uuid) - 1 || !is_word(text.at[sizeof(uuid) - 1])))
		return (struct fold){ sizeof(uuid) - 1, "{uuid}" };
	if (matches(text, date)) {
		struct text rest = { text.at + sizeof(date) - 1, text.size - (sizeof(date) - 1) };
		size_t time = 0;

		if (rest.size && is_digit(rest.at[0]))
			return (struct fold){ 0 };
		if (rest.size > 1 && (rest.at[0] == 'T' || rest.at[0] == 't') &&
		    is_digit(rest.at[1])) {
			/* 2026-11-27T01:02:03.456+01:00, and with %3A for its colons */
			for (time = 1; time < rest.size; time++)
				if (!is_digit(rest.at[time]) && !strchr(":.+-Zz%Aa", rest.at[time]))
					break;
		}
		if (time || !rest.size || !is_word(rest.at[0]))
			return (struct fold){ sizeof(date) - 1 + time, "{date}" };
	}
	return (struct fold){ 0 };
}

/* A part: letters and digits only. */
static struct fold fold_part(struct text part)
{
	size_t digits = 0, turns = 0, hex = run(part, is_hex), leading = run(part, is_digit);
	size_t letters = run(part, is_letter);

	for (size_t i = 0; i < part.size; i++) {
		digits += is_digit(part.at[i]);
		turns += i && is_digit(part.at[i]) != is_digit(part.at[i - 1]);
	}
	if (leading == part.size)
		return (struct fold){ part.size, "{id}" };
	if (memchr(part.at, '%', part.size))
		return (struct fold){ 0 };
	/* words of the letters a to f are short */
	if (hex == part.size && ((digits && part.size >= 8) || part.size >= 16))
		return (struct fold){ part.size, "{hash}" };
	if (starts_with(part, "0x") && part.size > 4 &&
	    run((struct text){ part.at + 2, part.size - 2 }, is_hex) == part.size - 2)
		return (struct fold){ part.size, "{hash}" };
	if ((part.size >= 16 && digits >= 2) || (part.size >= 8 && digits >= 2 && turns >= 3))
		return (struct fold){ part.size, "{token}" };
	/* "item4711"; not "sha256", "h264", "oauth2" */
	if (digits >= 4 && letters + digits == part.size)
		return (struct fold){ part.size, "{id}" };
	if (part.size > 24)
		return (struct fold){ part.size, "{token}" };
	return (struct fold){ 0 };
}

/* A segment that is a value as a whole. */
static const char *fold_segment(struct text segment)
{
	size_t escapes = 0, at = 0, sign = segment.at[0] == '-' || segment.at[0] == '+' ? 1 : 0;
	bool is_number = true;

	for (size_t i = 0; i < segment.size; i++) {
		char c = segment.at[i];

		if (c <= ' ' || c > '~' || strchr("{}\"'\\<>^`|", c))
			return "{text}";
		if (c == '%')
			escapes++;
		if (c == '@' && i && i + 1 < segment.size)
			at = i;
		if (i >= sign && !is_digit(c) && c != '.' && c != ',')
			is_number = false;
	}
	if (at || memmem(segment.at, segment.size, "%40", 3))
		return "{email}";
	if (is_number && segment.size > sign && is_digit(segment.at[segment.size - 1]))
		return run(segment, is_digit) == segment.size ? "{id}" : "{number}";
	if (escapes > MAX_ESCAPES)
		return "{text}";
	return NULL;
}

/* "v2", "v1.1": the version of an interface. */
static bool is_version(struct text segment)
{
	if (segment.size < 2 || segment.size > 8 || (segment.at[0] | 0x20) != 'v' ||
	    !is_digit(segment.at[1]))
		return false;
	for (size_t i = 1; i < segment.size; i++)
		if (!is_digit(segment.at[i]) && segment.at[i] != '.')
			return false;
	return true;
}

struct output {
	char *text;
	size_t size;
	bool is_full;
};

static void put(struct output *output, const char *text, size_t size)
{
	/* room for what says that more would follow */
	if (output->size + size + sizeof("/{rest}") > PATH_TEMPLATE_SIZE) {
		output->is_full = true;
		return;
	}
	memcpy(output->text + output->size, text, size);
	output->size += size;
}

static void put_parts(struct output *output, struct text segment)
{
	bool was_folded = false;

	while (segment.size) {
		struct text part = { segment.at, run(segment, is_word) };
		struct fold fold = fold_composite(segment);
		size_t taken, between;

		if (!fold.size && part.size)
			fold = fold_part(part);
		taken = fold.size ? fold.size : part.size;
		if (!fold.size)
			put(output, segment.at, taken);
		else if (!was_folded)
			put(output, fold.name, strlen(fold.name));
		was_folded = fold.size || (was_folded && !taken);
		segment.at += taken;
		segment.size -= taken;
		for (between = 0; between < segment.size && !is_word(segment.at[between]);)
			between++;
		/* between two that are folded it goes with the second */
		if (was_folded && between < segment.size) {
			struct text next = { segment.at + between, segment.size - between };
			struct text next_part = { next.at, run(next, is_word) };

			if (!fold_composite(next).size && !fold_part(next_part).size)
				put(output, segment.at, between);
		} else {
			put(output, segment.at, between);
		}
		segment.at += between;
		segment.size -= between;
	}
}

static void put_segment(struct output *output, struct text segment)
{
	const char *parameters = memchr(segment.at, ';', segment.size), *fold;
	size_t before = output->size;

	if (parameters)
		segment.size = (size_t)(parameters - segment.at);
	if (!segment.size)
		return;
	put(output, "/", 1);
	fold = fold_segment(segment);
	if (fold) {
		put(output, fold, strlen(fold));
	} else if (is_version(segment)) {
		put(output, segment.at, segment.size);
	} else {
		size_t start = output->size;

		put_parts(output, segment);
		if (output->is_full || output->size - start > MAX_SEGMENT) {
			output->is_full = false;
			output->size = start;
			put(output, "{text}", strlen("{text}"));
		}
	}
	if (output->is_full)
		output->size = before;
}

/* The path of "http://host/path", or what it is without. */
static struct text skip_authority(struct text target)
{
	const char *colons = memmem(target.at, target.size, "://", 3), *slash;
	struct text rest;

	if (!colons || target.at[0] == '/' ||
	    run(target, is_letter) != (size_t)(colons - target.at))
		return target;
	rest.at = colons + 3;
	rest.size = target.size - (size_t)(rest.at - target.at);
	for (slash = rest.at; slash < rest.at + rest.size; slash++)
		if (*slash == '/' || *slash == '?' || *slash == '#')
			break;
	if (slash == rest.at + rest.size || *slash != '/')
		return (struct text){ "/", 1 };
	return (struct text){ slash, rest.size - (size_t)(slash - rest.at) };
}

void path_template(const char *target, size_t size, char ret_template[PATH_TEMPLATE_SIZE])
{
	struct output output = { .text = ret_template };
	struct text path = { target, size };
	unsigned segments = 0;

	ret_template[0] = '\0';
	if (!size)
		return;
	path = skip_authority(path);
	if (path.size == 1 && path.at[0] == '*') {
		memcpy(ret_template, "*", 2);
		return;
	}
	if (path.at[0] != '/')
		return;
	for (size_t i = 0; i < path.size; i++) {
		if (path.at[i] == '?' || path.at[i] == '#') {
			path.size = i;
			break;
		}
	}
	while (path.size && !output.is_full) {
		const char *slash = memchr(path.at, '/', path.size);
		struct text segment = { path.at, slash ? (size_t)(slash - path.at) : path.size };
		size_t taken = segment.size + (slash != NULL);

		if (segment.size && segments++ == PATH_TEMPLATE_SEGMENTS)
			output.is_full = true;
		else if (segment.size)
			put_segment(&output, segment);
		path.at += taken;
		path.size -= taken;
	}
	if (output.is_full) {
		memcpy(output.text + output.size, "/{rest}", strlen("/{rest}"));
		output.size += strlen("/{rest}");
	}
	if (!output.size)
		output.text[output.size++] = '/';
	output.text[output.size] = '\0';
}

struct path_target path_target_of_line(const char *line, size_t size)
{
	const char *end = line + size, *start = memchr(line, ' ', size), *c;

	start = start ? start + 1 : end;
	for (c = start; c < end && *c && *c != ' ' && *c != '\r' && *c != '\n';)
		c++;
	return (struct path_target){ start, (size_t)(c - start), size && c == end };
}

void path_template_of(const struct path_target *target, char ret_template[PATH_TEMPLATE_SIZE])
{
	size_t size = target->size;

	if (target->is_cut && !memchr(target->text, '?', size))
		while (size > 1 && target->text[size - 1] != '/')
			size--;
	path_template(target->text, size, ret_template);
	if (size < target->size && strlen(ret_template) + sizeof("/{rest}") <= PATH_TEMPLATE_SIZE)
		strcat(ret_template, "/{rest}");
}
