// SPDX-License-Identifier: Apache-2.0
/* Samples, takes hooks away and brings them back for a while, as budget_keeper.c has it; see budget_keeper_internal.h. */
#include <math.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include "agent/budget_keeper_internal.h"
#include "agent/log.h"
#include "agent/loop.h"
#include "agent/probe_set.h"

#define NS_PER_S 1000000000ULL
#define BUSY	 0.95 /* of the time: as good as all of it */
/* Where connections are sampled: for how long it is some connections' turn. */
#define TURN_NS (NS_PER_S / 4)

/* ---- lanes ---- */

static void set_lanes(const struct budget_keeper *keeper, struct kept *kept, unsigned shift)
{
	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++) {
		kept->lanes[cpu].weight = 1U << shift;
		kept->lanes[cpu].hooks_16 = 0;
		kept->lanes[cpu].spread = (2U << shift) - 2;
	}
}

static void turn_to_others(const struct budget_keeper *keeper, struct kept *kept)
{
	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++)
		kept->lanes[cpu].turn++;
	kept->next_ns = log_clock_ns() + TURN_NS;
}

uint64_t budget_count_events(const struct budget_keeper *keeper, const struct kept *kept)
{
	uint64_t events = 0;

	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++)
		events += __atomic_load_n(&kept->lanes[cpu].events, __ATOMIC_RELAXED);
	return events;
}

void budget_account_attached(struct kept *kept, uint64_t now_ns)
{
	if (!kept->attached_since_ns)
		return;
	kept->attached_ns += now_ns - kept->attached_since_ns;
	kept->attached_since_ns = now_ns;
}

/* ---- taking hooks away and bringing them back ---- */

static uint64_t thread_cpu_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * NS_PER_S + (uint64_t)time.tv_nsec;
}

static void note_toggle(struct kept *kept, uint64_t began_ns)
{
	double ns =
		2 * (double)(thread_cpu_ns() - began_ns); /* the other half costs about the same */

	kept->toggle_ns += 0.2 * (ns - kept->toggle_ns);
}

/* What a probe that was given up may still choose to have, in events a second. */
static double chosen_events(const struct budget_keeper *keeper, const struct kept *kept)
{
	return budget_left(keeper, kept) * keeper->cpus * (double)NS_PER_S /
	       budget_event_ns(kept, 0);
}

/* Once all are away, and once all are back: what only some of them have seen must not pass for all there was. */
static void count_absence(const struct budget_keeper *keeper, struct kept *kept)
{
	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++)
		__atomic_fetch_add(&kept->lanes[cpu].absences, 1, __ATOMIC_RELAXED);
}

static void set_end(const struct budget_keeper *keeper, struct kept *kept, uint64_t window_ends_ns)
{
	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++)
		__atomic_store_n(&kept->lanes[cpu].window_ends_ns, window_ends_ns,
				 __ATOMIC_RELEASE);
}

static void take_away(const struct budget_keeper *keeper, struct kept *kept)
{
	uint64_t began_ns = thread_cpu_ns();

	set_end(keeper, kept, BUDGET_NO_WINDOW);
	budget_account_attached(kept, log_clock_ns());
	kept->attached_since_ns = 0;
	kept->left = probe_pause(kept->probe, chosen_events(keeper, kept));
	count_absence(keeper, kept);
	note_toggle(kept, began_ns);
}

static int bring_back(const struct budget_keeper *keeper, struct kept *kept)
{
	uint64_t began_ns = thread_cpu_ns(), now_ns = log_clock_ns();
	int err;

	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++)
		kept->lanes[cpu].window_began_ns = now_ns;
	err = probe_resume(kept->probe);
	count_absence(keeper, kept);
	if (!kept->is_windowed)
		set_end(keeper, kept, 0);
	if (err)
		log_limited(LOG_LEVEL_ERROR, "budget", "%s: its hooks do not come back: %s",
			    name_of(kept), strerror(-err));
	else
		kept->attached_since_ns = log_clock_ns();
	note_toggle(kept, began_ns);
	return err;
}

/* ---- windows ---- */

static void tell_hooks(struct budget_keeper *keeper, struct kept *kept)
{
	if (!economy_of(kept)->is_call)
		return;
	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++) {
		double taken_16 = 16 * kept->cpu[cpu].taken;

		kept->lanes[cpu].hooks_16 =
			(uint32_t)(taken_16 * budget_calls_hooks_ns(keeper, kept, cpu));
		kept->lanes[cpu].marked_16 =
			(uint32_t)(taken_16 * budget_calls_marked_ns(keeper, kept));
	}
}

/* Good enough to be in step with nothing: the upper half of a 64-bit linear congruential generator (Knuth's MMIX). */
static uint64_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return *seed >> 32;
}

/* How often there is a window. */
static uint64_t slot_ns(const struct kept *kept)
{
	return (uint64_t)(budget_slot_seconds(budget_least_window(economy_of(kept)),
					      kept->plan.halvings) *
			  (double)NS_PER_S);
}

static uint64_t window_ns(const struct kept *kept)
{
	return slot_ns(kept) >> kept->plan.halvings;
}

/* At any moment of its slot: what a host does at full seconds must not always fall into a window, nor never. */
static void place_window(struct budget_keeper *keeper, struct kept *kept)
{
	kept->next_ns =
		kept->slot_ns + next_random(&keeper->seed) % (slot_ns(kept) - window_ns(kept));
}

static void prepare_lanes(struct budget_keeper *keeper, struct kept *kept)
{
	/* More than one when the loop was held up. */
	uint64_t slots_ns = (1 + (log_clock_ns() - kept->slot_ns) / slot_ns(kept)) * slot_ns(kept);

	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++) {
		struct budget_lane *lane = &kept->lanes[cpu];

		lane->spread = (2U << kept->plan.shift) - 2;
		lane->weight = budget_weight_open(&kept->cpu[cpu].weight, (double)slots_ns,
						  (double)window_ns(kept), kept->plan.shift);
		if (economy_of(kept)->by_connection)
			lane->weight = (uint32_t)lround(lane->weight * kept->cpu[cpu].slowdown);
	}
	kept->slot_ns += slots_ns;
}

/* From now on, as all is measured that there is to measure. */
static void begin_window(const struct budget_keeper *keeper, struct kept *kept)
{
	kept->opened_ns = log_clock_ns();
	kept->next_ns = kept->opened_ns + window_ns(kept);
	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++) {
		struct budget_lane *lane = &kept->lanes[cpu];

		kept->cpu[cpu].events_at_opening = lane->events;
		lane->paced_ns = lane->paced_events = 0;
		lane->window_began_ns = kept->opened_ns;
	}
	set_end(keeper, kept, kept->next_ns);
}

static void open_window(struct budget_keeper *keeper, struct kept *kept)
{
	double before_ns = economy_of(kept)->is_call ? budget_calls_before(keeper, kept) : 0;

	prepare_lanes(keeper, kept);
	kept->is_open = !bring_back(keeper, kept);
	if (before_ns > 0)
		budget_calls_after(keeper, kept, kept->is_open ? before_ns : 0);
	if (kept->is_open) {
		tell_hooks(keeper, kept);
		begin_window(keeper, kept);
	} else {
		place_window(keeper, kept);
	}
}

static void settle_lane(const struct budget_keeper *keeper, struct kept *kept, unsigned cpu,
			double open_ns)
{
	const struct budget_lane *lane = &kept->lanes[cpu];
	struct kept_cpu *here = &kept->cpu[cpu];
	double events = (double)(lane->events - here->events_at_opening);
	double pace_ns = (double)lane->paced_ns / fmax((double)lane->paced_events, 1);
	double hook_ns = budget_calls_hooks_ns(keeper, kept, cpu);

	log_debug(
		"budget",
		"%s: CPU %u: %.0f events in %.2f ms, %.0f ns each of %.0f, in a row %.0f; weight %u, %.2f of it taken",
		name_of(kept), cpu, events, open_ns / 1e6, hook_ns, open_ns / fmax(events, 1),
		pace_ns, lane->weight, here->taken);
	here->slowdown +=
		0.5 *
		(budget_weight_slowdown(events * budget_event_ns(kept, kept->plan.shift) / open_ns,
					keeper->busy[cpu]) -
		 here->slowdown);
	budget_weight_close(&here->weight,
			    economy_of(kept)->is_call ? (double)window_ns(kept) : open_ns);
	if (pace_ns > 0)
		here->taken +=
			0.5 * (budget_weight_taken(hook_ns, pace_ns, events * pace_ns / open_ns,
						   keeper->busy[cpu]) -
			       here->taken);
}

static void close_window(struct budget_keeper *keeper, struct kept *kept)
{
	double open_ns = (double)(log_clock_ns() - kept->opened_ns);

	take_away(keeper, kept);
	kept->is_open = false;
	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++)
		settle_lane(keeper, kept, cpu, open_ns);
	place_window(keeper, kept);
}

void budget_arm_timer(const struct budget_keeper *keeper)
{
	struct itimerspec when = { 0 };
	uint64_t next_ns = UINT64_MAX;

	for (size_t i = 0; i < keeper->n; i++)
		if (is_timed(&keeper->kept[i]) && keeper->kept[i].next_ns < next_ns)
			next_ns = keeper->kept[i].next_ns;
	if (next_ns != UINT64_MAX)
		when.it_value = (struct timespec){ (time_t)(next_ns / NS_PER_S),
						   (long)(next_ns % NS_PER_S) };
	timerfd_settime(keeper->timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
	/* A window that waits for a CPU to be free finds others busy than there are else. */
	loop_be_punctual(keeper->loop, next_ns != UINT64_MAX ? keeper->timer_fd : -1);
}

void budget_turn_windows(void *context)
{
	struct budget_keeper *keeper = context;
	uint64_t expirations;
	ssize_t n = read(keeper->timer_fd, &expirations, sizeof(expirations));

	(void)n; /* EAGAIN: armed anew meanwhile */
	for (size_t i = 0; i < keeper->n; i++) {
		struct kept *kept = &keeper->kept[i];

		if (!is_timed(kept) || kept->next_ns > log_clock_ns())
			continue;
		if (!kept->is_windowed)
			turn_to_others(keeper, kept);
		else if (kept->is_open)
			close_window(keeper, kept);
		else
			open_window(keeper, kept);
	}
	budget_arm_timer(keeper);
}

/* ---- applying plans ---- */

/* Before there was a window: as if the hooks' time were spread evenly over what CPUs do. */
static double expected_slowdown(const struct budget_keeper *keeper, const struct kept *kept,
				unsigned cpu)
{
	double full = budget_full_cost(keeper->budget, (size_t)(kept - keeper->kept));
	double busy = 0;

	for (unsigned i = 0; i < keeper->cpus; i++)
		busy += keeper->busy[i] / keeper->cpus;
	return budget_weight_slowdown(busy > 0 ? full / busy : 0, keeper->busy[cpu]);
}

static void begin_windows(struct budget_keeper *keeper, struct kept *kept)
{
	if (kept->attached_since_ns)
		take_away(keeper, kept);
	kept->is_windowed = true;
	kept->n_windows = 0;
	kept->is_open = false;
	for (unsigned cpu = 0; cpu < keeper->cpus; cpu++) {
		budget_weight_start(&kept->cpu[cpu].weight);
		kept->cpu[cpu].taken = keeper->busy[cpu] > BUSY;
		kept->cpu[cpu].slowdown = expected_slowdown(keeper, kept, cpu);
	}
	kept->slot_ns = log_clock_ns();
	place_window(keeper, kept);
}

static void end_windows(const struct budget_keeper *keeper, struct kept *kept)
{
	if (kept->is_open)
		take_away(keeper, kept);
	kept->is_windowed = kept->is_open = false;
}

void budget_apply_plan(struct budget_keeper *keeper, struct kept *kept,
		       const struct budget_plan *plan)
{
	kept->plan = *plan;
	if (plan->halvings && !plan->detached) {
		if (!kept->is_windowed)
			begin_windows(keeper, kept);
		return;
	}
	if (kept->is_windowed)
		end_windows(keeper, kept);
	set_lanes(keeper, kept, plan->shift);
	kept->next_ns = log_clock_ns() + TURN_NS;
	if (plan->detached && kept->attached_since_ns)
		take_away(keeper, kept);
	else if (!plan->detached && !kept->attached_since_ns)
		bring_back(keeper, kept); /* failing that, with the next reading */
}
