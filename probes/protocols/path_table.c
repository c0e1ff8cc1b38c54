// SPDX-License-Identifier: Apache-2.0
/*
 * struct path_table: a tree of segments in one array. A node that has as many different children as it may have takes those that come
 * later as one, "{other}": "/articles/{other}/comments".
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "probes/protocols/path_template.h"

#define OTHER "{other}"
#define REST  "/{rest}"

struct node {
	char *segment; /* without its slash; NULL at the root */
	uint16_t child, sibling; /* 0: none, as the root is neither */
	uint16_t n_children; /* without "{other}" */
	bool is_template; /* a path ends here */
};

struct path_table {
	unsigned max_templates, max_segments, n_templates;
	unsigned n_nodes, room;
	size_t n_text; /* bytes of all segments */
	struct node *nodes;
};

struct path_table *path_table_create(unsigned max_templates, unsigned max_segments)
{
	struct path_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->nodes = calloc(1, sizeof(*table->nodes));
	if (!table->nodes) {
		free(table);
		return NULL;
	}
	table->n_nodes = table->room = 1;
	table->max_segments = max_segments < UINT16_MAX ? max_segments : UINT16_MAX - 1;
	/* so that a node's number fits */
	table->max_templates = max_templates < UINT16_MAX / (PATH_TEMPLATE_SEGMENTS + 1)
				       ? max_templates
				       : UINT16_MAX / (PATH_TEMPLATE_SEGMENTS + 1);
	return table;
}

void path_table_destroy(struct path_table *table)
{
	if (!table)
		return;
	for (unsigned i = 0; i < table->n_nodes; i++)
		free(table->nodes[i].segment);
	free(table->nodes);
	free(table);
}

unsigned path_table_templates(const struct path_table *table)
{
	return table->n_templates;
}

size_t path_table_size(const struct path_table *table)
{
	/* a word or two for each allocation */
	return sizeof(*table) + table->room * sizeof(*table->nodes) + table->n_text +
	       table->n_nodes * 16;
}

static uint16_t child_find(const struct path_table *table, uint16_t parent, const char *segment,
			   size_t size)
{
	uint16_t child = table->nodes[parent].child;

	while (child && (strncmp(table->nodes[child].segment, segment, size) != 0 ||
			 table->nodes[child].segment[size]))
		child = table->nodes[child].sibling;
	return child;
}

/* 0: no memory, or no room. */
static uint16_t child_add(struct path_table *table, uint16_t parent, const char *segment,
			  size_t size)
{
	struct node *node;

	if (table->n_nodes > table->max_templates * (PATH_TEMPLATE_SEGMENTS + 1))
		return 0;
	if (table->n_nodes == table->room) {
		struct node *nodes = reallocarray(table->nodes, table->room * 2U, sizeof(*nodes));

		if (!nodes)
			return 0;
		table->nodes = nodes;
		table->room *= 2;
	}
	node = &table->nodes[table->n_nodes];
	*node = (struct node){
		.segment = strndup(segment, size),
		.sibling = table->nodes[parent].child,
	};
	if (!node->segment)
		return 0;
	table->n_text += size + 1;
	table->nodes[parent].child = (uint16_t)table->n_nodes;
	return (uint16_t)table->n_nodes++;
}

/* The child a segment leads to. 0: it is not there, and may not or cannot be added. */
static uint16_t child_step(struct path_table *table, uint16_t parent, const char *segment,
			   size_t size, bool may_add)
{
	uint16_t child = child_find(table, parent, segment, size);

	if (child)
		return child;
	if (!may_add || table->nodes[parent].n_children >= table->max_segments) {
		child = child_find(table, parent, OTHER, strlen(OTHER));
		if (child || !may_add)
			return child;
		return child_add(table, parent, OTHER, strlen(OTHER));
	}
	child = child_add(table, parent, segment, size);
	if (child)
		table->nodes[parent].n_children++;
	return child;
}

void path_table_find(struct path_table *table, const char *template, bool may_add,
		     char ret_name[PATH_TEMPLATE_SIZE])
{
	const char *at = template;
	uint16_t node = 0;
	size_t size = 0;

	may_add = may_add && table->n_templates < table->max_templates;
	if (at[0] != '/') {
		/* "*" and "": there are no more of these */
		snprintf(ret_name, PATH_TEMPLATE_SIZE, "%s", template);
		return;
	}
	while (*at) {
		size_t segment = strcspn(at + 1, "/"), length;

		node = child_step(table, node, at + 1, segment, may_add);
		if (!node)
			break;
		length = strlen(table->nodes[node].segment);
		/* "{other}" may be longer than what it stands for */
		if (size + 1 + length + sizeof(REST) > PATH_TEMPLATE_SIZE) {
			node = 0;
			break;
		}
		ret_name[size++] = '/';
		memcpy(ret_name + size, table->nodes[node].segment, length);
		size += length;
		at += 1 + segment;
	}
	if (node && !table->nodes[node].is_template && may_add) {
		table->nodes[node].is_template = true;
		table->n_templates++;
	}
	if (!node || !table->nodes[node].is_template) {
		memcpy(ret_name, REST, sizeof(REST));
		return;
	}
	ret_name[size] = '\0';
}
