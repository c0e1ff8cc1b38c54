// SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause
/*
 * Disk I/O, from one hook: the completion of a request. The kernel notes in the request itself when it was
 * made and when it was handed to the driver, so the two need not be watched and nothing has to be kept per
 * request. Completions come in interrupts and in tasks, hence the atomic additions.
 *
 * The kernel notes the handing over only for queues that something keeps statistics of: writeback throttling
 * (on by default), kyber, iolatency, polling. Once a request shows up without, block_issue begins to keep the
 * times itself; until then it returns at once.
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "lib/budget.bpf.h"
#include "lib/compat.bpf.h"
#include "lib/emit.bpf.h"
#include "lib/rows.bpf.h"
#include "block.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile struct block_settings settings;

DEFINE_ROWS(block_rows, struct block_row);
DEFINE_FREE_ROWS(block_free);

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, struct block_key);
	__type(value, __u32);
} block_index SEC(".maps");

/* By row. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct block_record);
} block_records SEC(".maps");

/* Request → when the driver got it; in use only where the kernel does not note it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, __u64);
} block_issued SEC(".maps");

/* Set at the first request without a time of issue. */
__u32 keep_issue_times;

/* include/linux/blk_types.h; numbers that never changed */
#define REQ_OP_MASK	    0xff
#define REQ_OP_READ	    0
#define REQ_OP_WRITE	    1
#define REQ_OP_FLUSH	    2
#define REQ_OP_DISCARD	    3
#define REQ_OP_SECURE_ERASE 5
#define REQ_OP_WRITE_ZEROES 9

static __always_inline enum block_operation operation_of(const struct request *rq)
{
	switch (rq->cmd_flags & REQ_OP_MASK) {
	case REQ_OP_READ:
		return BLOCK_READ;
	case REQ_OP_WRITE:
		return BLOCK_WRITE;
	case REQ_OP_FLUSH:
		return BLOCK_FLUSH;
	case REQ_OP_DISCARD:
		return BLOCK_DISCARD;
	case REQ_OP_SECURE_ERASE:
		return BLOCK_SECURE_ERASE;
	case REQ_OP_WRITE_ZEROES:
		return BLOCK_WRITE_ZEROES;
	default:
		return BLOCK_OTHER;
	}
}

/* request::rq_disk gave way to request_queue::disk in 5.17 (f3fa33acca9f). */
static __always_inline struct gendisk *disk_of(struct request *rq)
{
	struct request___rq_disk *old = (void *)rq;

	if (bpf_core_field_exists(old->rq_disk))
		return old->rq_disk;
	return READ_ONLY(request, rq)->q->disk;
}

static __always_inline enum block_status status_of_errno(int error)
{
	switch (error) { /* blk_errors[] of block/blk-core.c */
	case 95: /* EOPNOTSUPP */
		return BLOCK_STATUS_NOTSUPP;
	case 110: /* ETIMEDOUT */
		return BLOCK_STATUS_TIMEOUT;
	case 28: /* ENOSPC */
		return BLOCK_STATUS_NOSPC;
	case 67: /* ENOLINK */
		return BLOCK_STATUS_TRANSPORT;
	case 121: /* EREMOTEIO */
		return BLOCK_STATUS_TARGET;
	case 52: /* EBADE */
		return BLOCK_STATUS_RESV_CONFLICT;
	case 61: /* ENODATA */
		return BLOCK_STATUS_MEDIUM;
	case 84: /* EILSEQ */
		return BLOCK_STATUS_PROTECTION;
	case 12: /* ENOMEM */
		return BLOCK_STATUS_RESOURCE;
	case 5: /* EIO */
		return BLOCK_STATUS_IOERR;
	case 78: /* EREMCHG */
		return BLOCK_STATUS_DM_REQUEUE;
	case 11: /* EAGAIN */
		return BLOCK_STATUS_AGAIN;
	case 16: /* EBUSY */
		return BLOCK_STATUS_DEV_RESOURCE;
	case 109: /* ETOOMANYREFS */
		return BLOCK_STATUS_ZONE_OPEN_RESOURCE;
	case 75: /* EOVERFLOW */
		return BLOCK_STATUS_ZONE_ACTIVE_RESOURCE;
	case 19: /* ENODEV */
		return BLOCK_STATUS_OFFLINE;
	default:
		return BLOCK_STATUS_OTHER;
	}
}

/*
 * The tracepoint's error was a negative errno in 5.15, before it became the status itself. Statuses
 * from 14 on moved down by one with BLK_STS_ZONE_RESOURCE gone, in the release that brought REQ_ATOMIC.
 */
static __always_inline enum block_status status_of(int error)
{
	if (error < 0)
		return status_of_errno(-error);
	if (error > BLOCK_STATUS_DEV_RESOURCE &&
	    !bpf_core_enum_value_exists(enum req_flag_bits, __REQ_ATOMIC)) {
		if (error == BLOCK_STATUS_DEV_RESOURCE + 1)
			return BLOCK_STATUS_ZONE_RESOURCE;
		error--;
	}
	return error < BLOCK_STATUS_ZONE_RESOURCE ? error : BLOCK_STATUS_OTHER;
}

static __always_inline struct block_row *row_of(struct gendisk *disk,
						enum block_operation operation)
{
	struct block_key key = { .operation = operation };
	struct block_record *record;
	__u32 row;

	bpf_probe_read_kernel_str(key.device, sizeof(key.device), disk->disk_name);
	row = row_for_key(&block_index, &block_free, &key);
	record = bpf_map_lookup_elem(&block_records, &row);
	if (!record)
		return NULL;
	if (!record->in_use) {
		if (!row) /* the agent is still starting */
			return NULL;
		record->key = key;
		__sync_lock_test_and_set(&record->in_use, 1);
	}
	return row_of_this_cpu(&block_rows, settings.rows, row);
}

static __always_inline void record(struct hist *hist, __u64 from_ns, __u64 to_ns)
{
	__u64 ns = to_ns > from_ns ? to_ns - from_ns : 0;
	__u32 slot = hist_slot(ns);

	asm volatile("" : "+r"(slot)); /* as in hist_record() */
	if (slot >= HIST_SLOTS)
		slot = HIST_SLOTS - 1;
	ROW_ADD_ATOMIC(hist->slots[slot], 1);
	ROW_ADD_ATOMIC(hist->sum_ns, ns);
	if (ns > hist->max_ns)
		hist->max_ns = ns;
}

/* When the driver got it, or 0. */
static __always_inline __u64 issue_time_of(struct request *rq)
{
	__u64 key = (__u64)rq, *kept, issued_ns = rq->io_start_time_ns;

	if (issued_ns)
		return issued_ns;
	kept = bpf_map_lookup_elem(&block_issued, &key);
	if (!kept) {
		keep_issue_times = 1;
		return 0;
	}
	issued_ns = *kept;
	bpf_map_delete_elem(&block_issued, &key);
	return issued_ns;
}

/*
 * When it was made, or 0. The kernel notes that only for queues with iostats=1; else the field holds what an
 * earlier request left.
 */
static __always_inline __u64 making_time_of(struct request *rq)
{
	return rq->rq_flags & settings.io_stat ? rq->start_time_ns : 0;
}

static __always_inline void time_request(struct block_row *row, struct request *rq)
{
	__u64 made_ns = making_time_of(rq), issued_ns = issue_time_of(rq);

	ROW_ADD_ATOMIC(row->requests, 1);
	if (issued_ns)
		record(&row->stage[BLOCK_DEVICE], issued_ns, bpf_ktime_get_ns());
	else
		ROW_ADD_ATOMIC(row->untimed[BLOCK_DEVICE], 1);
	if (issued_ns && made_ns)
		record(&row->stage[BLOCK_QUEUE], made_ns, issued_ns);
	else
		ROW_ADD_ATOMIC(row->untimed[BLOCK_QUEUE], 1);
}

/* `error` is a blk_status_t, or on old kernels an int. */
SEC("tp_btf/block_rq_complete")
int BPF_PROG(block_complete, struct request *rq, int error, unsigned int nr_bytes)
{
	enum block_operation operation = operation_of(rq);
	struct gendisk *disk = disk_of(rq);
	struct block_row *row;

	budget_count();
	/*
	 * No bytes of a read or write: nothing has been done yet, or it is the end of a sequence of flushes
	 * around a write, all of which have completed on their own. No disk: an administrative queue.
	 */
	if (!disk || (!nr_bytes && (operation == BLOCK_READ || operation == BLOCK_WRITE)))
		return 0;
	row = row_of(disk, operation);
	if (!row)
		return 0;
	if (error) {
		enum block_status status = status_of(error);

		if (status < BLOCK_STATUSES)
			ROW_ADD_ATOMIC(row->errors[status], 1);
	} else {
		ROW_ADD_ATOMIC(row->bytes, nr_bytes);
	}
	if (nr_bytes >= rq->__data_len) /* the last part of it */
		time_request(row, rq);
	return 0;
}

/* The prototype lost its first argument, the queue, in 5.11 (a54895fa057c). */
SEC("tp_btf/block_rq_issue")
int BPF_PROG(block_issue, struct request *rq)
{
	__u64 key = (__u64)rq, now;

	budget_count();
	if (!keep_issue_times)
		return 0;
	now = bpf_ktime_get_ns();
	bpf_map_update_elem(&block_issued, &key, &now, BPF_ANY);
	return 0;
}
