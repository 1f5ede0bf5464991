/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* Requests to block devices. */
#pragma once

#include "common.h"

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
		current_comm(fresh.comm, COMM);
		fresh.stack = take_stack(ctx, scratch, settings->seed, TYPED);
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
		add(tally, &key, now - from, 1, known->comm);
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
