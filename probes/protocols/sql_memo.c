// SPDX-License-Identifier: Apache-2.0
/*
 * Summaries of statements by their texts without the values. An entry is a text's other bytes, where between them the
 * values stood and how each began. A text that has the same bytes in the same places, and between them values that begin
 * alike, is of the same tokens but for the content of values, of which no summary says anything. For by induction, at the
 * beginning of a value both texts are between two tokens:
 *
 * - What ends a token, or is passed over between two, is told by its own bytes and those that follow it. All of them are the
 *   same up to the value, and so is the value's first one, as no rule tells a digit from another. Beyond that one nothing
 *   is looked at: "--" and the marks of a comment are not followed by a digit or a quote in what they are told by, a letter
 *   before a quote is part of the value, and what is looked through for the end of $tag$ is letters and digits, which a
 *   number cannot begin among. That the text ends is told by "--" at its end, behind which no value comes.
 * - Where the value itself ends is told by the tokenizer in both. It does not look at what came before, and behind it again
 *   both texts have the same bytes, or none. So a value that is cut off is so in both.
 *
 * In sets by a hash of what comes before the first value; in a set the entry that was not used for longest makes room. Owns
 * its entries; loop thread only.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include "probes/protocols/sql_memo.h"

#define SETS	   32 /* power of two */
#define WAYS	   8
#define MAX_FIXED  480 /* bytes of a text that are not of values; longer ones are not kept */
#define MAX_VALUES 32
#define MAX_HASHED 128

struct value {
	uint16_t at; /* among the bytes that are not of values */
	char first;
};

struct entry {
	uint64_t used; /* when it last was, by the memo's clock */
	uint8_t dialect;
	bool is_whole;
	uint16_t size, n_values;
	struct value values[MAX_VALUES];
	char fixed[MAX_FIXED];
	struct sql_summary summary;
};

struct set {
	uint32_t hashes[WAYS]; /* 0: there is no entry */
	struct entry entries[WAYS];
};

struct sql_memo {
	uint64_t clock;
	struct set sets[SETS];
};

_Static_assert((SETS & (SETS - 1)) == 0, "a mask makes the set");

struct sql_memo *sql_memo_new(void)
{
	return calloc(1, sizeof(struct sql_memo));
}

void sql_memo_free(struct sql_memo *memo)
{
	free(memo);
}

uint64_t sql_memo_size(void)
{
	return sizeof(struct sql_memo);
}

/* ---- the hash ---- */

#define ONES (UINT64_MAX / 255) /* in each of eight bytes */
#define TOPS (ONES << 7)

/* The top bit of each byte that is between these two, low <= 127, high <= 128: "hasbetween" of Bit Twiddling Hacks. */
static uint64_t between(uint64_t bytes, uint8_t low, uint8_t high)
{
	uint64_t rest = bytes & ~TOPS;

	return (ONES * (127 + high) - rest) & ~bytes & (rest + ONES * (127 - low)) & TOPS;
}

/* Where a value may begin in eight bytes of text: at quotes, and at digits that are in no word. May err, but alike for all. */
static uint64_t value_begins(uint64_t bytes, uint64_t *in_word)
{
	uint64_t digits = between(bytes, '0' - 1, '9' + 1);
	uint64_t word = digits | ((bytes | between(bytes, '@', 128)) & TOPS);
	uint64_t before = word << 8 | *in_word;

	*in_word = word >> 56;
	return (digits & ~before) | between(bytes, '"' - 1, '\'' + 1);
}

/* Never 0. Of the beginning, by eight bytes, up to those that may have a part of a value in them. */
static uint32_t hash_of(const char *text, size_t size, bool is_whole, enum sql_dialect dialect)
{
	uint64_t hash = 2 * dialect + is_whole, bytes, in_word = 0;

	if (size > MAX_HASHED)
		size = MAX_HASHED;
	for (; size >= sizeof(bytes); size -= sizeof(bytes), text += sizeof(bytes)) {
		memcpy(&bytes, text, sizeof(bytes));
		bytes = le64toh(bytes);
		if (value_begins(bytes, &in_word))
			break;
		hash = (hash ^ bytes) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 32;
	}
	return (uint32_t)hash | 1;
}

/* ---- entries ---- */

static bool is_like(const struct entry *entry, const char *text, size_t size)
{
	struct sql_reader reader = { text, text + size, entry->is_whole, entry->dialect };
	size_t at = 0, n;

	for (unsigned i = 0; i < entry->n_values; i++) {
		n = entry->values[i].at - at;
		if ((size_t)(reader.end - reader.at) < n ||
		    memcmp(reader.at, entry->fixed + at, n) != 0)
			return false;
		reader.at += n;
		at += n;
		if (!sql_pass_value(&reader, entry->values[i].first))
			return false;
	}
	n = entry->size - at;
	return (size_t)(reader.end - reader.at) == n && !memcmp(reader.at, entry->fixed + at, n);
}

static struct entry *find(struct set *set, uint32_t hash, const char *text, size_t size,
			  bool is_whole, enum sql_dialect dialect)
{
	for (unsigned way = 0; way < WAYS; way++) {
		struct entry *entry = &set->entries[way];

		if (set->hashes[way] == hash && entry->dialect == dialect &&
		    entry->is_whole == is_whole && is_like(entry, text, size))
			return entry;
	}
	return NULL;
}

static bool has_room(size_t size, const struct sql_values *values)
{
	if (values->n > MAX_VALUES)
		return false;
	for (unsigned i = 0; i < values->n; i++)
		size -= values->values[i].size;
	return size <= MAX_FIXED;
}

static void add_fixed(struct entry *entry, const char *text, size_t size)
{
	memcpy(entry->fixed + entry->size, text, size);
	entry->size += size;
}

static void keep_text(struct entry *entry, const char *text, size_t size,
		      const struct sql_values *values)
{
	size_t from = 0;

	entry->size = 0;
	entry->n_values = values->n;
	for (unsigned i = 0; i < values->n; i++) {
		const struct sql_value *value = &values->values[i];

		add_fixed(entry, text + from, value->at - from);
		entry->values[i] = (struct value){ entry->size, text[value->at] };
		from = value->at + value->size;
	}
	add_fixed(entry, text + from, size - from);
}

/* An empty one, else the one that was not used for longest. */
static unsigned way_to_fill(const struct set *set)
{
	unsigned least = 0;

	for (unsigned way = 0; way < WAYS; way++) {
		if (!set->hashes[way])
			return way;
		if (set->entries[way].used < set->entries[least].used)
			least = way;
	}
	return least;
}

bool sql_memo_summarize(struct sql_memo *memo, struct sql_summary *summary, const char *text,
			size_t size, bool is_whole, enum sql_dialect dialect)
{
	struct sql_value places[MAX_VALUES];
	struct sql_values values = { .max = MAX_VALUES, .values = places };
	uint32_t hash;
	struct set *set;
	struct entry *entry;
	unsigned way;

	if (!memo) {
		sql_summarize(summary, text, size, is_whole, dialect);
		return false;
	}
	hash = hash_of(text, size, is_whole, dialect);
	set = &memo->sets[hash >> 1 & (SETS - 1)];
	entry = find(set, hash, text, size, is_whole, dialect);
	if (entry) {
		entry->used = ++memo->clock;
		*summary = entry->summary;
		return true;
	}
	sql_summarize_values(summary, text, size, is_whole, dialect, &values);
	if (!has_room(size, &values))
		return false;
	way = way_to_fill(set);
	entry = &set->entries[way];
	keep_text(entry, text, size, &values);
	entry->dialect = dialect;
	entry->is_whole = is_whole;
	entry->summary = *summary;
	entry->used = ++memo->clock;
	set->hashes[way] = hash;
	return false;
}
