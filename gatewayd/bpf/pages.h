/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Pages that the kernel hands out. */
#pragma once

#include "common.h"

/* One allocation in about so many bytes is told, as a power of two. */
#define PAGES_EVERY (1LL << 18)

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

		key.stack = take_stack(ctx, scratch, settings->seed, TYPED);
		if (!key.stack)
			tally->stackless++;
		add(tally, &key, marks * PAGES_EVERY, 1, 0);
	}
	leave(scratch);
	return end(tally, now);
}
