/* SPDX-License-Identifier: GPL-2.0 OR MIT */
#ifndef DEVICE_H
#define DEVICE_H

#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "sm_crypto.h"

#define MAX_BYTES (1 << 20)
#define DEPTH 8
#define KEYS 16

/* A key that was loaded. Only the worker of its file touches it, and a reset after the worker has ended. */
struct sm_key {
	u64 handle;
	u32 alg;
	u32 len;
	u8 bytes[SM_CRYPTO_MAX_KEY];
};

/* What one open file has. */
struct sm_file {
	/* One call at a time takes requests in or resets. */
	struct mutex lock;
	/* Of the list of finished jobs and of in_flight. */
	spinlock_t done_lock;
	struct list_head done;
	unsigned int in_flight;
	wait_queue_head_t wait;
	struct workqueue_struct *worker;
	/* Addresses in requests mean nothing anywhere else. */
	struct mm_struct *mm;
	/* Whether jobs are to end at once. */
	bool stopping;
	struct sm_key keys[KEYS];
	u64 last_handle;
};

/* A request and copies of its memory. The output is written to the program when it reads the reply. */
struct sm_job {
	struct work_struct work;
	struct list_head link;
	struct sm_file *file;
	struct sm_crypto_request request;
	u8 *input;
	u8 *aux;
	u8 *extra;
	u8 *output;
	u32 status;
	/* 0: none. */
	u64 deadline_ns;
};

/* Does the job: fills its output, and returns its status. */
u32 sm_compute(struct sm_job *job);

/* Whether the job has to end now; polled often enough that a reset takes a few milliseconds. */
static inline u32 sm_interrupted(const struct sm_job *job)
{
	if (READ_ONCE(job->file->stopping))
		return SM_CRYPTO_DEVICE_ERROR;
	if (job->deadline_ns && ktime_get_ns() > job->deadline_ns)
		return SM_CRYPTO_EXPIRED;
	return SM_CRYPTO_OK;
}

extern const struct file_operations sm_files;

#endif
