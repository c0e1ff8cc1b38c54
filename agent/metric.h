/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics: what one is (a const descriptor), and how a probe hands its values to the registry.
 *
 * Probes describe each metric once in a `struct metric_desc`; the catalogue, the HELP and TYPE lines,
 * the man page and the series caps come from it. At every collection a probe writes all its current
 * values through a `struct metric_writer`; the registry turns them into an immutable snapshot
 * (snapshot.h). Loop thread only.
 */
#ifndef LEADLINE_METRIC_H
#define LEADLINE_METRIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum metric_kind {
	METRIC_COUNTER, /* name ends in _total */
	METRIC_GAUGE,
	METRIC_HISTOGRAM,
};

#define METRIC_MAX_LABELS 12 /* own labels of a metric, besides the five of an entity */

struct metric_desc {
	const char *name; /* as the Prometheus text page spells it, `_total` included */
	const char *help; /* one sentence, ends without a full stop */
	const char *
		unit; /* "seconds", "bytes", "ratio", or NULL for plain counts; must be a suffix of the name */
	enum metric_kind kind;
	bool per_entity; /* carries namespace, pod, container, unit, comm */
	const char *labels[METRIC_MAX_LABELS + 1]; /* own label names, NULL-terminated */
	/*
	 * Upper bounds of the classic buckets, ascending, without +Inf, in the unit. NULL: powers of four from
	 * 2^-20 (1 us) to 16 s. Bounds that are boundaries of the recorded histogram are exact.
	 */
	const double *bounds;
	size_t n_bounds;
	unsigned
		max_series; /* 0: METRIC_DEFAULT_MAX_SERIES. What exceeds it is folded into "other". */
	bool merges_by_max; /* a gauge of which equal series make the largest, not the sum; all in "ratio" do */
	/*
	 * Of a histogram: the gauge with the same labels that shows its largest value of this minute and the one before, made
	 * by the registry; NULL: none. To be listed with the probe's metrics like any other.
	 */
	const struct metric_desc *worst;
};

#define METRIC_DEFAULT_MAX_SERIES 2000

/*
 * A histogram with base-2 exponential buckets, in the metric's unit. Slot 0 holds everything up to
 * 2^(min_index/2^schema), slot i what lies in (2^((min_index+i-1)/2^schema), 2^((min_index+i)/2^schema)],
 * the last slot everything above the slot before it.
 */
struct histogram_view {
	int schema;
	int min_index;
	size_t n_slots;
	const uint64_t *slots;
	double sum;
	/* Largest value since the last collection; in a snapshot, of this minute and the one before. 0 when not known. */
	double max;
	/*
	 * Set by the registry: when that value was collected (realtime), which is at most `interval` after it was seen; and the
	 * same two of each of the two minutes.
	 */
	uint64_t max_ns;
	double turn_max, last_turn_max;
	uint64_t turn_max_ns, last_turn_max_ns;
	/*
	 * Counts per classic bucket of the descriptor's bounds plus one above them all, not cumulative, where
	 * they were counted as such; NULL: derived from the slots.
	 */
	const uint64_t *classic;

	/* Set by the registry: min_index as the probe gave it, before empty ends were cut off. */
	int open_index;
};

/* Entity of a value: an id from the kernel side, or ENTITY_NONE for the whole host. */
#define ENTITY_NONE 0xfffffffeU

struct metric_writer;

/*
 * Each takes the label values in the order of desc->labels (NULL when there are none; copied). Values
 * written twice under equal labels in one collection are added up (see merges_by_max). Values of dead entities or of those
 * with equal labels merge by the same rule.
 */
void metric_write(struct metric_writer *writer, const struct metric_desc *desc, uint32_t entity,
		  const char *const label_values[], double value);
void metric_write_histogram(struct metric_writer *writer, const struct metric_desc *desc,
			    uint32_t entity, const char *const label_values[],
			    const struct histogram_view *histogram);

/*
 * One request in detail, borrowed until the end of the collection: one of the slowest, or an example for the series it is
 * counted in.
 */
struct request_record;
enum request_use { REQUEST_SLOW, REQUEST_EXAMPLE };
void metric_write_request(struct metric_writer *writer, uint32_t entity, enum request_use use,
			  const struct request_record *record);

/*
 * Value below which the fraction q (0..1) of the recorded values lies, by exponential interpolation inside
 * the bucket as Prometheus does for native histograms. NaN when empty.
 */
double histogram_quantile(const struct histogram_view *histogram, double q);

/* Number of recorded values. */
uint64_t histogram_count(const struct histogram_view *histogram);

/*
 * Cumulative counts at the descriptor's bounds (or the default ones): out[i] = values <= bounds[i];
 * returns the number of bounds. `out` must hold metric_bounds() entries.
 */
size_t histogram_cumulative(const struct metric_desc *desc, const struct histogram_view *histogram,
			    uint64_t *out);

/*
 * The classic bucket that histogram->max falls in, by its place in `cumulative` (the counts at the bounds, and behind them
 * the count of all); -1 when there is no such value or nothing was counted there.
 */
long histogram_max_bucket(const struct metric_desc *desc, const struct histogram_view *histogram,
			  const uint64_t *cumulative);

/* The classic bounds in force for a histogram metric; sets *n. */
const double *metric_bounds(const struct metric_desc *desc, size_t *n);

#endif
