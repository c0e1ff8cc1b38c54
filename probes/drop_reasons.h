/* SPDX-License-Identifier: Apache-2.0 */
/* Why packets are dropped: names for the rows of bpf/network.h, learnt from the enums of the running kernel. */
#ifndef LEADLINE_DROP_REASONS_H
#define LEADLINE_DROP_REASONS_H

#include <stddef.h>
#include <stdint.h>

#define DROP_REASON_NAME_SIZE 64
#define DROP_MAX_CORE_REASONS 1024
#define DROP_MAX_SUBSYSTEMS   16

/* All 0: the kernel gives no reasons. */
struct drop_reasons {
	unsigned core; /* reasons of the core; 0: none known */
	unsigned subsystems; /* those besides the core */
	char (*core_names)
		[DROP_REASON_NAME_SIZE]; /* owned; "": no drop, or a number without name */
	char subsystem_names[DROP_MAX_SUBSYSTEMS][DROP_REASON_NAME_SIZE];
};

/*
 * An entry of enum skb_drop_reason or skb_drop_reason_subsys. What the kernel counts as no drop (consumed, not dropped
 * yet) and its markers get no name. 0, or -ENOMEM.
 */
int drop_reasons_add(struct drop_reasons *reasons, const char *name, int64_t value);
int drop_reasons_add_subsystem(struct drop_reasons *reasons, const char *name, int64_t value);
void drop_reasons_free(struct drop_reasons *reasons);

/* For the kernel side: at least 1 each. */
unsigned drop_reasons_core(const struct drop_reasons *reasons);
unsigned drop_reasons_subsystems(const struct drop_reasons *reasons); /* the core included */

/*
 * Name of a row, e.g. "NETFILTER_DROP"; a subsystem's is its name and the number, "OPENVSWITCH_3"; "other" for what
 * is beyond. NULL for a row that counts no drops.
 */
const char *drop_reasons_name(const struct drop_reasons *reasons, unsigned row,
			      char text[DROP_REASON_NAME_SIZE]);

#endif
