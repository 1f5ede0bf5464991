/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* What all programs do: count themselves, keep out of each other's way, take stacks, add up. */
#pragma once

#include "capture.h"

/* Frames of a program's own way at a typed tracepoint, and at a numbered one. */
#define TYPED 3
#define NUMBERED 0

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

/*
 * Takes the stack of the thread that runs: its name, or 0. The first `skip` frames in the kernel are the program's own way:
 * this function, the program, and what calls it. The kernel takes them off by itself for programs at numbered tracepoints.
 */
static __attribute__((noinline)) u64 take_stack(void *ctx, struct scratch *scratch, u64 seed, u64 skip)
{
	struct stack *stack = &scratch->stack;
	u32 kernel = 0, user = 0, all;
	u64 hash;
	long len;

	len = get_stack(ctx, stack->frames, KERNEL_FRAMES * sizeof(u64), skip);
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

/* Adds to a sum; the thread is `comm`, or the one that runs. */
INLINE void add(struct tally *tally, struct sum_key *key, u64 amount, u64 count, const char *comm)
{
	struct sum *sum = lookup(&sums, key);

	if (!amount)
		return;
	if (!sum) {
		struct sum zero = {};

		if (comm)
			__builtin_memcpy(zero.comm, comm, COMM);
		else
			current_comm(zero.comm, COMM);
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
	struct counted *sum = lookup(&latencies, &key);

	if (!sum) {
		struct counted zero = {};

		update(&latencies, &key, &zero, NOEXIST);
		sum = lookup(&latencies, &key);
	}
	if (!sum) {
		tally->lost += count;
		return;
	}
	__sync_fetch_and_add(&sum->count, count);
	__sync_fetch_and_add(&sum->ns, ns * count);
}
