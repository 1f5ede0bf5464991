/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Time off the CPU, asleep and waiting for one, and in programs' locks. */
#pragma once

#include "common.h"

/* Times of so many nanoseconds and more are always told. */
#define WHOLE_OFF 10000000ULL
/* Least chance that a sleep's stack is taken: one in 2^6. */
#define MOST_SHIFT 6
/* A thread that is woken so long after a completion was woken by it. */
#define WOKEN_BY 200000ULL
/* The kind of a lock that is a program's. */
#define KIND_FUTEX 0x40

enum why { SLEEPING, UNINTERRUPTIBLE, PREEMPTED };

/*
 * Lets only those futex calls count that wait for a lock, as `LOCK_FUTEX` in `machine/locks.rs`, which says why. A thread in
 * an exception has no number of a system call there.
 */
INLINE u8 waits_for_lock(struct task_struct *thread)
{
	struct pt_regs *regs;
	u64 operation;
	u32 value;

	if (!thread->mm)
		return 0;
	regs = (struct pt_regs *)task_pt_regs(thread);
	if (!regs || SYSCALL(regs) != FUTEX)
		return 0;
	operation = SECOND(regs) & 0xFFFF;
	value = (u32)THIRD(regs);
	if (operation == 6 || operation == 134 || operation == 13 || operation == 141)
		return 1;
	if (operation != 0 && operation != 128 && operation != 9 && operation != 137 && operation != 265 &&
	    operation != 393)
		return 0;
	return value == 2 || (value > 2147483647U && value != 4294967295U);
}

/* Whether a device woke the thread; then the time from the completion until it ran is that request's too. */
static __attribute__((noinline)) int join_completion(struct tally *tally, u64 woken, u64 ran_from, u64 count)
{
	u32 zero = 0;
	struct completions *known = lookup(&completed, &zero);
	u64 best = 0;
	u32 device = 0;
	u8 operation = 0;

	if (!known || !tally)
		return 0;
#pragma clang loop unroll(disable)
	for (u32 at = 0; at < COMPLETIONS; at++) {
		u64 ns = known->it[at].ns;

		if (ns > best && ns <= woken) {
			best = ns;
			device = known->it[at].device;
			operation = known->it[at].operation;
		}
	}
	if (best && woken - best <= WOKEN_BY && ran_from > best)
		count_request(tally, device, operation, TERM_RUN_QUEUE, ran_from - best, count);
	return 0;
}

/* A thread that is about to leave the CPU again: tells where its time went since it left the last time. */
INLINE void tell_time_off(struct tally *tally, struct control *settings, struct task *task, u32 tgid, u32 tid, u64 now,
			  u64 off, u64 queued)
{
	u64 asleep = task->why == PREEMPTED ? 0 : off - queued;
	u64 shift = off >= WHOLE_OFF ? 0 : task->shift & 7;
	struct sum_key key = {
		.stack = task->stack, .tgid = tgid, .tid = tid, .group = BLOCKING, .span = span(now - task->since)
	};

	if (!task->stack)
		tally->stackless++;
	if (settings->tell & 1 << BLOCKED) {
		key.dimension = BLOCKED;
		add(tally, &key, asleep << shift, 1ULL << shift, 0);
	}
	if (settings->tell & 1 << RUN_QUEUE) {
		key.dimension = RUN_QUEUE;
		add(tally, &key, (off - asleep) << shift, 1ULL << shift, 0);
	}
	if (task->futex && settings->tell & 1 << LOCK) {
		key.dimension = LOCK;
		key.detail = KIND_FUTEX;
		add(tally, &key, off << shift, 1ULL << shift, 0);
	}
	if (task->why == UNINTERRUPTIBLE)
		join_completion(tally, task->since + asleep, task->since + off, 1ULL << shift);
}

/*
 * How many times two the chance is below one that a thread of this prediction is looked at. Predictions fall short at times,
 * so from half of what is always told they count as that.
 */
INLINE u8 shift_for(u64 predicted)
{
	u8 shift = 0;
#pragma clang loop unroll(full)
	for (int step = 1; step <= MOST_SHIFT; step++)
		if (predicted < WHOLE_OFF >> (step + 1))
			shift = step;
	return shift;
}

/*
 * A CPU goes over from one thread to another: (bool preempted, prev, next, unsigned int prev_state).
 *
 * All is done when a thread leaves the CPU: the kernel then has in its accounts how long it has just run and how long it
 * waited before, and the rest of the time since it left the last time it slept. So nothing is needed at wake-ups, nor for the
 * thread that comes.
 */
SEC("tp_btf/sched_switch")
int on_switch(u64 *ctx)
{
	struct task_struct *thread = (struct task_struct *)ctx[1];
	u32 tid = thread->pid, tgid = thread->tgid;
	u64 state = ctx[3], now, ran, waited = 0;
	struct control *settings;
	struct scratch *scratch;
	struct tally *tally;
	struct task *task;
	u64 off = 0, queued = 0;
	u8 told = 0;

	now = clock_ns();
	tally = begin(BLOCKING, now, &settings);
	if (!tally)
		return 0;
	/* An idle CPU is neither asleep nor waiting. */
	if (!tid)
		return end(tally, now);
	task = lookup(&tasks, &tid);
	if (!task) {
		struct task fresh = {
			.random = (u32)settings->seed ^ (tid * 2654435761U), .predicted = WHOLE_OFF
		};

		scratch = enter(tally);
		if (!scratch)
			return end(tally, now);
		update(&tasks, &tid, &fresh, NOEXIST);
		leave(scratch);
		task = lookup(&tasks, &tid);
		if (!task)
			return end(tally, now);
	}
	ran = thread->se.sum_exec_runtime;
	if (FIELD_EXISTS(thread->sched_info.run_delay))
		waited = thread->sched_info.run_delay;
	if (task->since && task->generation == settings->generation[BLOCKING] && now > task->since) {
		u64 passed = now - task->since, run = ran - task->ran;

		off = passed > run ? passed - run : 0;
		queued = waited - task->waited;
		if (queued > off)
			queued = off;
		told = task->chosen || off >= WHOLE_OFF;
		task->predicted -= task->predicted >> 2;
		if (off > task->predicted)
			task->predicted = off;
	}
	task->random = task->random * 1664525 + 1013904223;
	{
		u8 shift = shift_for(task->predicted) & 7;
		u8 chosen = !(task->random >> 16 & ((1U << shift) - 1));
		u8 ended = (state & 0x80) && !(u8)ctx[0];

		if (told || chosen || ended) {
			scratch = enter(tally);
			if (scratch) {
				if (told)
					tell_time_off(tally, settings, task, tgid, tid, now, off, queued);
				if (ended) {
					forget(&tasks, &tid);
					leave(scratch);
					return end(tally, now);
				}
				task->stack = chosen ? take_stack(ctx, scratch, settings->seed, TYPED) : 0;
				leave(scratch);
			} else {
				task->stack = 0;
			}
		}
		if (!chosen)
			task->stack = 0;
		task->shift = shift;
		task->chosen = chosen;
	}
	if ((u8)ctx[0] || !(u32)state)
		task->why = PREEMPTED;
	else
		/* Not so where it is only said so that the load does not count it. */
		task->why = (state & 2) && !(state & 0x400) ? UNINTERRUPTIBLE : SLEEPING;
	task->futex = task->chosen && task->why == SLEEPING && settings->tell & 1 << LOCK && waits_for_lock(thread);
	task->since = now;
	task->ran = ran;
	task->waited = waited;
	task->generation = settings->generation[BLOCKING];
	return end(tally, now);
}
