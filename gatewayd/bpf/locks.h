/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Waiting for locks of the kernel. */
#pragma once

#include "off_cpu.h"

/* Waits of so many nanoseconds and more are always told: a power of two. */
#define WHOLE_LOCK (1ULL << 19)
/* A lock that was waited for so long ago was let go of unseen. */
#define FORGOTTEN (1ULL << 33)

struct contention {
	u64 common;
	u64 lock;
	u32 flags;
};

/* A thread found a lock taken. */
SEC("tracepoint/lock/contention_begin")
int on_contention(struct contention *ctx)
{
	u64 now = clock_ns();
	u32 tid = current_pid_tgid();
	struct control *settings;
	struct scratch *scratch;
	struct tally *tally;
	struct task *task;

	if (!tid)
		return 0;
	tally = begin(LOCKS, now, &settings);
	if (!tally)
		return 0;
	scratch = enter(tally);
	if (!scratch)
		return 0;
	task = lookup(&tasks, &tid);
	if (!task) {
		struct task fresh = {
			.random = (u32)settings->seed ^ (tid * 2654435761U), .predicted = WHOLE_OFF
		};

		update(&tasks, &tid, &fresh, NOEXIST);
		task = lookup(&tasks, &tid);
	}
	/* A mutex is announced twice, first spinning, then sleeping; and an interrupt may find a lock taken in between. */
	if (task && !(task->lock && task->lock_generation == settings->generation[LOCKS] &&
		      now - task->lock_since < FORGOTTEN)) {
		task->lock = ctx->lock;
		task->lock_since = now;
		task->lock_flags = ctx->flags;
		task->lock_generation = settings->generation[LOCKS];
	}
	leave(scratch);
	return end(tally, now);
}

/* The thread has the lock, or gave up. */
SEC("tracepoint/lock/contention_end")
int on_contention_end(struct contention *ctx)
{
	u64 now = clock_ns(), pid_tgid = current_pid_tgid(), waited, amount;
	u32 tid = pid_tgid;
	struct control *settings;
	struct scratch *scratch;
	struct tally *tally;
	struct task *task;

	if (!tid)
		return 0;
	tally = begin(LOCKS, now, &settings);
	if (!tally)
		return 0;
	scratch = enter(tally);
	if (!scratch)
		return 0;
	task = lookup(&tasks, &tid);
	if (task && task->lock && task->lock == ctx->lock) {
		task->lock = 0;
		waited = now - task->lock_since;
		task->random = task->random * 1664525 + 1013904223;
		if (task->lock_generation == settings->generation[LOCKS] &&
		    waited > (task->random >> 8 & (WHOLE_LOCK - 1))) {
			struct sum_key key = {
				.tgid = pid_tgid >> 32, .tid = tid, .group = LOCKS, .dimension = LOCK,
				.detail = task->lock_flags & 0x3F, .span = span(waited)
			};

			key.stack = take_stack(ctx, scratch, settings->seed, NUMBERED);
			if (!key.stack)
				tally->stackless++;
			/* Chosen with a chance that goes with its length, so each that is shorter counts the same. */
			amount = waited > WHOLE_LOCK ? waited : WHOLE_LOCK;
			add(tally, &key, amount, 1, 0);
		}
	}
	leave(scratch);
	return end(tally, now);
}
