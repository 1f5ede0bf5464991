/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Measures in the kernel what the timer cannot see, and adds it up there by thread and stack, so that the service has
 * only sums to read.
 *
 * Stacks are what costs. So a sleep's is taken in advance, by chance: the more likely, the longer the thread slept of
 * late; a time that was chosen with a chance of one in 2^n counts for 2^n. Long times are always told, with the stack if it
 * was taken. A lock's wait is chosen at its end, when its length is known.
 *
 * A program must not be interrupted by another one that needs the same lock of a map: those of contended locks may run
 * wherever the kernel waits for one, in the midst of a map's own code too. They are of the kind that the kernel does not run
 * within others of that kind, nor within the service's calls; within the programs of the other kind `busy` keeps them out.
 */
#include "capture.h"

/* The helpers for stacks and registers are for programs under the GPL, or under that and another licence. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";

/* Times of so many nanoseconds and more are always told. */
#define WHOLE_OFF 10000000ULL
/* Likewise of a wait for a lock, as a power of two. */
#define WHOLE_LOCK (1ULL << 19)
/* Least chance that a sleep's stack is taken: one in 2^6. */
#define MOST_SHIFT 6
/* One allocation in about so many bytes is told, as a power of two. */
#define PAGES_EVERY (1LL << 18)
/* A thread that is woken so long after a completion was woken by it. */
#define WOKEN_BY 200000ULL
/* A lock that was waited for so long ago was let go of unseen. */
#define FORGOTTEN (1ULL << 33)
/* The kind of a lock that is a program's. */
#define KIND_FUTEX 0x40

enum why { SLEEPING, UNINTERRUPTIBLE, PREEMPTED };

/* Counts a run. Null when nothing is to be done: the group is not looked at, or has used up what it was allowed. */
INLINE struct tally *begin(u32 group, u64 now, struct control **settings)
{
	u32 zero = 0;
	struct control *known = lookup(&control, &zero);
	struct tally *tally = lookup(&tallies, &group);
	u64 *halt = lookup(&halts, &group);

	if (!known || !tally || !halt || !known->generation[group])
		return 0;
	tally->runs++;
	if (*halt)
		return 0;
	if (tally->generation != known->generation[group]) {
		tally->generation = known->generation[group];
		tally->runs_in = 0;
	}
	if (++tally->runs_in > known->allowed[group]) {
		*halt = now;
		return 0;
	}
	*settings = known;
	return tally;
}

/* Counts the time of a run. */
INLINE int end(struct tally *tally, u64 begun)
{
	if (!(tally->runs & 31))
		tally->ns += (clock_ns() - begun) << 5;
	return 0;
}

/* Keeps other programs out on this CPU; null when another one is at work. */
INLINE struct scratch *enter(struct tally *tally)
{
	u32 zero = 0;
	struct scratch *scratch = lookup(&scratches, &zero);

	if (!scratch || scratch->busy) {
		tally->lost++;
		return 0;
	}
	scratch->busy = 1;
	return scratch;
}

INLINE void leave(struct scratch *scratch)
{
	scratch->busy = 0;
}

/* Takes the stack of the thread that runs: its name, or 0. */
static __attribute__((noinline)) u64 take_stack(void *ctx, struct scratch *scratch, u64 seed)
{
	struct stack *stack = &scratch->stack;
	u32 kernel = 0, user = 0, all;
	u64 hash;
	long len;

	len = get_stack(ctx, stack->frames, KERNEL_FRAMES * sizeof(u64), 0);
	if (len > 0)
		kernel = (u32)len / sizeof(u64);
	if (kernel > KERNEL_FRAMES)
		kernel = KERNEL_FRAMES;
	len = get_stack(ctx, &stack->frames[kernel], USER_FRAMES * sizeof(u64), USER_STACK);
	if (len > 0)
		user = (u32)len / sizeof(u64);
	if (user > USER_FRAMES)
		user = USER_FRAMES;
	all = kernel + user;
	if (!all)
		return 0;
	stack->kernel = kernel;
	stack->user = user;
	hash = seed ^ ((u64)kernel << 32 | user);
#pragma clang loop unroll(disable)
	for (u32 at = 0; at < FRAMES; at++) {
		if (at >= all)
			break;
		hash = (hash ^ stack->frames[at]) * 0x9E3779B97F4A7C15ULL;
		hash ^= hash >> 29;
	}
	if (!hash)
		hash = 1;
	if (!lookup(&stacks, &hash) && update(&stacks, &hash, stack, ANY))
		return 0;
	return hash;
}

/* Which power of four milliseconds: below 1, below 4, and so on; 7 for 4 s and more. */
INLINE u8 span(u64 ns)
{
	u8 span = 0;
#pragma clang loop unroll(full)
	for (int step = 0; step < 7; step++)
		if (ns >= (1000000ULL << (2 * step)))
			span = step + 1;
	return span;
}

INLINE void add(struct tally *tally, struct sum_key *key, u64 amount, u64 count)
{
	struct sum *sum = lookup(&sums, key);

	if (!amount)
		return;
	if (!sum) {
		struct sum zero = {};

		update(&sums, key, &zero, NOEXIST);
		sum = lookup(&sums, key);
	}
	if (!sum) {
		tally->lost += count;
		return;
	}
	__sync_fetch_and_add(&sum->count, count);
	__sync_fetch_and_add(&sum->amount, amount);
}

/* The highest bit that is set. */
INLINE u8 highest_bit(u64 number)
{
	u8 bit = 0;
#pragma clang loop unroll(full)
	for (int step = 5; step >= 0; step--) {
		if (number >> (1 << step)) {
			number >>= 1 << step;
			bit += 1 << step;
		}
	}
	return bit;
}

INLINE void count_request(struct tally *tally, u32 device, u8 operation, u8 term, u64 ns, u64 count)
{
	struct latency_key key = {
		.device = device, .operation = operation, .term = term, .bucket = highest_bit(ns)
	};
	struct sum *sum = lookup(&latencies, &key);

	if (!sum) {
		struct sum zero = {};

		update(&latencies, &key, &zero, NOEXIST);
		sum = lookup(&latencies, &key);
	}
	if (!sum) {
		tally->lost += count;
		return;
	}
	__sync_fetch_and_add(&sum->count, count);
	__sync_fetch_and_add(&sum->amount, ns * count);
}

/* ---- Off the CPU ---- */

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
		add(tally, &key, asleep << shift, 1ULL << shift);
	}
	if (settings->tell & 1 << RUN_QUEUE) {
		key.dimension = RUN_QUEUE;
		add(tally, &key, (off - asleep) << shift, 1ULL << shift);
	}
	if (task->futex && settings->tell & 1 << LOCK) {
		key.dimension = LOCK;
		key.detail = KIND_FUTEX;
		add(tally, &key, off << shift, 1ULL << shift);
	}
	if (task->why == UNINTERRUPTIBLE)
		join_completion(tally, task->since + asleep, task->since + off, 1ULL << shift);
}

/* How many times two the chance is below one that a thread of this prediction is looked at. */
INLINE u8 shift_for(u64 predicted)
{
	u8 shift = 0;
#pragma clang loop unroll(full)
	for (int step = 1; step <= MOST_SHIFT; step++)
		if (predicted < WHOLE_OFF >> step)
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

	/* An idle CPU is neither asleep nor waiting. */
	if (!tid)
		return 0;
	now = clock_ns();
	tally = begin(BLOCKING, now, &settings);
	if (!tally)
		return 0;
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
				task->stack = chosen ? take_stack(ctx, scratch, settings->seed) : 0;
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

/* ---- Locks of the kernel ---- */

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

			key.stack = take_stack(ctx, scratch, settings->seed);
			if (!key.stack)
				tally->stackless++;
			/* Chosen with a chance that goes with its length, so each that is shorter counts the same. */
			amount = waited > WHOLE_LOCK ? waited : WHOLE_LOCK;
			add(tally, &key, amount, 1);
		}
	}
	leave(scratch);
	return end(tally, now);
}

/* ---- Memory ---- */

/* Pages were handed out: (page, unsigned int order, gfp_flags, migratetype). */
SEC("tp_btf/mm_page_alloc")
int on_pages(u64 *ctx)
{
	u64 now = clock_ns(), pid_tgid;
	struct control *settings;
	struct scratch *scratch;
	struct tally *tally;
	s64 marks;

	tally = begin(MEMORY, now, &settings);
	if (!tally)
		return 0;
	tally->left -= 1LL << ((settings->page_shift & 31) + ((u32)ctx[1] & 15));
	if (tally->left > 0)
		return end(tally, now);
	marks = 1 + (-tally->left >> 18);
	/* The next mark lies half to one and a half of the mean ahead, so that nothing falls in step with it. */
	tally->left += (marks - 1) * PAGES_EVERY + PAGES_EVERY / 2 + (random_u32() & (PAGES_EVERY - 1));
	scratch = enter(tally);
	if (!scratch)
		return end(tally, now);
	pid_tgid = current_pid_tgid();
	{
		struct sum_key key = {
			.tgid = pid_tgid >> 32, .tid = (u32)pid_tgid, .group = MEMORY, .dimension = PAGES
		};

		key.stack = take_stack(ctx, scratch, settings->seed);
		if (!key.stack)
			tally->stackless++;
		add(tally, &key, marks * PAGES_EVERY, 1);
	}
	leave(scratch);
	return end(tally, now);
}

/* ---- Block requests ---- */

INLINE u32 device_of(struct request *request)
{
	struct gendisk *disk = request->q->disk;

	return disk ? (u32)disk->major << 20 | ((u32)disk->first_minor & 0xFFFFF) : 0;
}

/* A request entered a queue, or was given to the device: the first of both tells on which stack it was made. */
INLINE int note_request(void *ctx, struct request *request, int issued)
{
	u64 now = clock_ns(), name = (u64)request;
	u32 flags = request->cmd_flags;
	struct control *settings;
	struct scratch *scratch;
	struct tally *tally;
	struct pending *known;

	/* 0 read, 1 write, 2 flush, 3 discard; others move no data of anybody's. */
	if ((flags & 0xFF) > 3)
		return 0;
	tally = begin(BLOCK_IO, now, &settings);
	if (!tally)
		return 0;
	scratch = enter(tally);
	if (!scratch)
		return end(tally, now);
	known = lookup(&requests, &name);
	if (known && issued && !known->issued && known->generation == settings->generation[BLOCK_IO]) {
		known->issued = now;
	} else {
		u64 pid_tgid = current_pid_tgid();
		struct pending fresh = {
			.made = issued ? 0 : now, .issued = issued ? now : 0, .tgid = pid_tgid >> 32,
			.tid = (u32)pid_tgid, .device = device_of(request), .operation = flags & 0xFF,
			.generation = settings->generation[BLOCK_IO]
		};

		fresh.to_medium = fresh.operation == 2 || flags >> ENUM_VALUE(enum req_flag_bits, __REQ_FUA) & 1;
		fresh.stack = take_stack(ctx, scratch, settings->seed);
		if (!fresh.stack)
			tally->stackless++;
		if (update(&requests, &name, &fresh, ANY))
			tally->lost++;
	}
	leave(scratch);
	return end(tally, now);
}

SEC("tp_btf/block_rq_insert")
int on_insert(u64 *ctx)
{
	return note_request(ctx, (struct request *)ctx[0], 0);
}

SEC("tp_btf/block_rq_issue")
int on_issue(u64 *ctx)
{
	return note_request(ctx, (struct request *)ctx[0], 1);
}

/* The device is done: (request, error, bytes). */
SEC("tp_btf/block_rq_complete")
int on_complete(u64 *ctx)
{
	u64 now = clock_ns(), name = ctx[0];
	struct control *settings;
	struct completions *done;
	struct scratch *scratch;
	struct tally *tally;
	struct pending *known;
	u32 zero = 0;

	tally = begin(BLOCK_IO, now, &settings);
	if (!tally)
		return 0;
	scratch = enter(tally);
	if (!scratch)
		return end(tally, now);
	known = lookup(&requests, &name);
	if (known && known->issued && known->generation == settings->generation[BLOCK_IO]) {
		u64 from = known->made ? known->made : known->issued;
		struct sum_key key = {
			.stack = known->stack, .tgid = known->tgid, .tid = known->tid, .device = known->device,
			.group = BLOCK_IO, .dimension = REQUESTS, .span = span(now - from)
		};

		if (known->made)
			count_request(tally, known->device, known->operation, TERM_QUEUE, known->issued - known->made, 1);
		count_request(tally, known->device, known->operation, known->to_medium ? TERM_FLUSH : TERM_DEVICE,
			      now - known->issued, 1);
		add(tally, &key, now - from, 1);
		done = lookup(&completed, &zero);
		if (done) {
			u64 at = done->next++ % COMPLETIONS;

			done->it[at].ns = now;
			done->it[at].device = known->device;
			done->it[at].operation = known->operation;
		}
	}
	if (known)
		forget(&requests, &name);
	leave(scratch);
	return end(tally, now);
}
