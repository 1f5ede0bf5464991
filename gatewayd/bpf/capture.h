/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The maps, and what they hold. `machine/bpf/words.rs` reads them word by word: keep both alike. */
#pragma once

#include "kernel.h"

/* Events that are measured together, as `Group` in `machine/events.rs`. */
enum group { BLOCKING, LOCKS, MEMORY, BLOCK_IO, GROUPS };

/* What an amount is of. */
enum dimension { BLOCKED, RUN_QUEUE, LOCK, PAGES, REQUESTS };

/* Parts of a request's time. */
enum term { TERM_QUEUE, TERM_DEVICE, TERM_FLUSH, TERM_RUN_QUEUE };

/* Deepest stacks that are kept; what lies beyond is cut at the outer end. */
#define KERNEL_FRAMES 48
#define USER_FRAMES 96
#define FRAMES (KERNEL_FRAMES + USER_FRAMES)

/* What the service asks for; the programs only read it. */
struct control {
	/* Mixed into the names of stacks, so that nobody can aim at equal ones. */
	u64 seed;
	/* Number of the stretch in which events are taken; 0 while none are. */
	u32 generation[GROUPS];
	/* Runs on one CPU in a stretch after which it ends, whatever the service does. */
	u32 allowed[GROUPS];
	/* Dimensions that are told, a bit for each. */
	u32 tell;
	/* Bytes of a page, as a power of two. */
	u32 page_shift;
};
MAP(control, ARRAY, 1, u32, struct control);

/* When a group used up what it was allowed; 0 if it did not. */
MAP(halts, ARRAY, GROUPS, u32, u64);

/* What a group has done on a CPU since it was loaded. */
struct tally {
	u64 runs;
	/* Time that they took: of each 32nd, 32 times. */
	u64 ns;
	/* Measurements for which there was no room, or which happened within another one. */
	u64 lost;
	/* Measurements whose stack could not be had. */
	u64 stackless;
	/* Bytes of pages until the next one is told. */
	s64 left;
	/* Runs in the stretch of this number. */
	u32 generation;
	u32 runs_in;
};
MAP(tallies, PERCPU_ARRAY, GROUPS, u32, struct tally);

/* Addresses, innermost first: those in the kernel, then those in the program. */
struct stack {
	u32 kernel;
	u32 user;
	u64 frames[FRAMES];
};
/* By a hash of the addresses, so that a stack has the same name again after it was forgotten. */
MAP(stacks, LRU_HASH, 1024, u64, struct stack);

/* Where a stack is put together. */
struct scratch {
	/* A program is at work that must not be interrupted by another on this CPU. */
	u32 busy;
	u32 unused;
	struct stack stack;
};
MAP(scratches, PERCPU_ARRAY, 1, u32, struct scratch);

/* A thread that was met. */
struct task {
	/* When it left the CPU, the CPU time that it had had, and the time that it had waited for one. */
	u64 since;
	u64 ran;
	u64 waited;
	/* How long it will be away this time, by the last times. */
	u64 predicted;
	/* Where it left the CPU; 0 unless this time was chosen. */
	u64 stack;
	/* The kernel's lock that it waits for, and since when. */
	u64 lock;
	u64 lock_since;
	/* Stretches in which the above is true. */
	u32 generation;
	u32 lock_generation;
	u32 random;
	/* A chosen time counts for two to the power of this. */
	u8 shift;
	u8 chosen;
	u8 why;
	u8 futex;
	u32 lock_flags;
	u32 unused;
};
MAP(tasks, LRU_HASH, 4096, u32, struct task);

/* What was measured: an amount at a place. */
struct sum_key {
	u64 stack;
	u32 tgid;
	u32 tid;
	u32 device;
	u8 group;
	u8 dimension;
	/* Of a lock: its kind. */
	u8 detail;
	/* How long the measurements took from their first event to their last; see `span`. */
	u8 span;
};
struct sum {
	u64 count;
	u64 amount;
	/* The thread's name, which may be gone when the sum is read. */
	char comm[COMM];
};
MAP(sums, HASH, 4096, struct sum_key, struct sum);

/* A request to a block device that is under way, by its address. */
struct pending {
	u64 made;
	u64 issued;
	u64 stack;
	u32 tgid;
	u32 tid;
	u32 device;
	u32 generation;
	u8 operation;
	u8 to_medium;
	u8 unused[6];
	char comm[COMM];
};
MAP(requests, HASH, 1024, u64, struct pending);

/* Requests counted by device, operation, part of their time, and power of two of its length. */
struct latency_key {
	u32 device;
	u8 operation;
	u8 term;
	u8 bucket;
	u8 unused;
};
struct counted {
	u64 count;
	u64 ns;
};
MAP(latencies, HASH, 2048, struct latency_key, struct counted);

/* The requests that were completed last, to be joined with the threads that they woke. */
#define COMPLETIONS 16
struct completion {
	u64 ns;
	u32 device;
	u32 operation;
};
struct completions {
	u64 next;
	struct completion it[COMPLETIONS];
};
MAP(completed, ARRAY, 1, u32, struct completions);
