/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Wire structures between bpf/block.bpf.c and probes/block.c. A row for each pair of device and operation;
 * row 0 is shared by all pairs that found no free row.
 */
#ifndef LEADLINE_BLOCK_WIRE_H
#define LEADLINE_BLOCK_WIRE_H

#ifndef __bpf__
#include <linux/types.h>
#endif
#include "lib/hist.h"

#define BLOCK_NAME_SIZE 32 /* DISK_NAME_LEN */

enum block_operation {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,
	BLOCK_DISCARD,
	BLOCK_SECURE_ERASE,
	BLOCK_WRITE_ZEROES,
	BLOCK_OTHER, /* zone management, and commands of a driver or of SG_IO */
	BLOCK_OPERATIONS,
};

enum block_stage {
	BLOCK_QUEUE, /* from the request's making to its handing over to the driver: plug, scheduler, throttling */
	BLOCK_DEVICE, /* from there to its completion */
	BLOCK_STAGES,
};

/*
 * BLK_STS_* of include/linux/blk_types.h as numbered since 6.11; block.bpf.c turns what older kernels say into
 * these. The last two are our own.
 */
enum block_status {
	BLOCK_STATUS_OK = 0,
	BLOCK_STATUS_NOTSUPP = 1,
	BLOCK_STATUS_TIMEOUT = 2,
	BLOCK_STATUS_NOSPC = 3,
	BLOCK_STATUS_TRANSPORT = 4,
	BLOCK_STATUS_TARGET = 5,
	BLOCK_STATUS_RESV_CONFLICT = 6,
	BLOCK_STATUS_MEDIUM = 7,
	BLOCK_STATUS_PROTECTION = 8,
	BLOCK_STATUS_RESOURCE = 9,
	BLOCK_STATUS_IOERR = 10,
	BLOCK_STATUS_DM_REQUEUE = 11,
	BLOCK_STATUS_AGAIN = 12,
	BLOCK_STATUS_DEV_RESOURCE = 13,
	BLOCK_STATUS_ZONE_OPEN_RESOURCE = 14,
	BLOCK_STATUS_ZONE_ACTIVE_RESOURCE = 15,
	BLOCK_STATUS_OFFLINE = 16,
	BLOCK_STATUS_DURATION_LIMIT = 17,
	BLOCK_STATUS_INVAL = 19,
	BLOCK_STATUS_ZONE_RESOURCE = 22, /* until 6.10 */
	BLOCK_STATUS_OTHER = 23,
	BLOCK_STATUSES = 24,
};

struct block_key {
	char device[BLOCK_NAME_SIZE]; /* zeroes after its end */
	__u32 operation; /* enum block_operation */
};
_Static_assert(sizeof(struct block_key) == 36, "hash key without padding");

/* What a row stands for. That of row 0 has no key, and is in use once the queue of free rows is filled. */
struct block_record {
	struct block_key key;
	__u32 in_use; /* 1 once the key is there */
};

struct block_row {
	struct hist stage[BLOCK_STAGES];
	__u64 bytes;
	__u64 requests; /* completed, timed or not */
	__u64 untimed[BLOCK_STAGES]; /* of them, without a time in that stage */
	__u64 errors[BLOCK_STATUSES];
};
_Static_assert(sizeof(struct block_row) == 2 * 1024 + 32 + 24 * 8, "no padding");

struct block_settings {
	__u32 rows; /* per CPU */
	__u32 io_stat; /* flag in request::rq_flags: its queue keeps times */
};

#endif
