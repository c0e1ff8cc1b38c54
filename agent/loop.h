/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop of the agent's main thread (T0): waits for files, timers and signals, calls back. All callbacks run on
 * the thread in loop_run(); only loop_wake() and loop_last_turn_ns() may be called from elsewhere.
 */
#ifndef LEADLINE_LOOP_H
#define LEADLINE_LOOP_H

#include <stdint.h>

struct loop;
typedef void (*loop_callback)(void *context);

int loop_new(struct loop **ret_loop); /* 0 or -errno */
void loop_free(struct loop *loop); /* closes what it opened; NULL is fine */

/* Calls back while `fd` is readable. The loop does not own it. 0 or -errno. */
int loop_add_fd(struct loop *loop, int fd, loop_callback callback, void *context);
void loop_remove_fd(struct loop *loop, int fd);
/*
 * The callback of this file has to come on time, however busy the machine: the thread waits ahead of all threads that
 * are not real-time (SCHED_FIFO; needs CAP_SYS_NICE or RLIMIT_RTPRIO, else as punctual as can be), and is like others once it is done.
 * One per loop; -1: none.
 */
void loop_be_punctual(struct loop *loop, int fd);
/* Calls back every `interval_ns`; missed turns are not made up for. 0 or -errno. */
int loop_add_timer(struct loop *loop, uint64_t interval_ns, loop_callback callback, void *context);
/* Calls back on a signal, which is blocked for the whole process from here on: before any thread is made. */
int loop_add_signal(struct loop *loop, int signal, loop_callback callback, void *context);
/* Calls back on the loop thread soon after loop_wake(); several wakes may be one call. One per loop. */
int loop_on_wake(struct loop *loop, loop_callback callback, void *context);
void loop_wake(struct loop *loop); /* any thread */

int loop_run(struct loop *loop); /* until loop_stop(); 0 or -errno */
void loop_stop(struct loop *loop); /* from a callback */

/* CLOCK_MONOTONIC of the last turn; a loop that turns is at most a second behind. Any thread. */
uint64_t loop_last_turn_ns(const struct loop *loop);

#endif
