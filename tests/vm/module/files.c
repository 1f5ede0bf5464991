// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Requests in by ioctl, replies out by read, poll says when; a worker between them. */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/poll.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "device.h"

static void free_job(struct sm_job *job)
{
	if (!job)
		return;
	kvfree(job->input);
	kvfree(job->aux);
	kvfree(job->extra);
	kvfree_sensitive(job->output, job->request.out_len);
	kfree_sensitive(job);
}

static void work(struct work_struct *work)
{
	struct sm_job *job = container_of(work, struct sm_job, work);
	struct sm_file *file = job->file;

	job->status = sm_compute(job);
	memzero_explicit(job->request.key, sizeof(job->request.key));
	spin_lock(&file->done_lock);
	list_add_tail(&job->link, &file->done);
	spin_unlock(&file->done_lock);
	wake_up_interruptible(&file->wait);
}

/* An address and its length; none where there is nothing. */
static int copy_in(u8 **to, u64 address, u64 len)
{
	u8 *copy;

	if (!len)
		return address ? -EINVAL : 0;
	copy = vmemdup_user(u64_to_user_ptr(address), len);
	if (IS_ERR(copy))
		return PTR_ERR(copy);
	*to = copy;
	return 0;
}

static int check(const struct sm_crypto_request *it)
{
	bool handle = it->flags & SM_CRYPTO_KEY_HANDLE;

	if (it->size != sizeof(*it) || it->reserved || memchr_inv(it->reserved_end, 0, sizeof(it->reserved_end)))
		return -EINVAL;
	if (it->flags & ~(SM_CRYPTO_KEY_HANDLE | SM_CRYPTO_IN_PLACE))
		return -EINVAL;
	if (it->in_len > MAX_BYTES || it->out_len > MAX_BYTES || it->aux_len > SM_CRYPTO_MAX_AUX ||
	    it->extra_len > SM_CRYPTO_MAX_EXTRA || it->iv_len > SM_CRYPTO_MAX_IV || it->key_len > SM_CRYPTO_MAX_KEY)
		return -EINVAL;
	if (handle != !!it->key_handle || (handle && it->key_len))
		return -EINVAL;
	if (!access_ok(u64_to_user_ptr(it->out_buf), it->out_len))
		return -EFAULT;
	return 0;
}

static long submit(struct sm_file *file, struct sm_crypto_request __user *from)
{
	struct sm_job *job = kzalloc(sizeof(*job), GFP_KERNEL);
	struct sm_crypto_request *request;
	long error;

	if (!job)
		return -ENOMEM;
	request = &job->request;
	error = -EFAULT;
	if (copy_from_user(request, from, sizeof(*request)))
		goto refuse;
	if (request->version != SM_CRYPTO_VERSION) {
		error = put_user(SM_CRYPTO_VERSION, &from->version) ? -EFAULT : -EPROTO;
		goto refuse;
	}
	error = check(request);
	if (error)
		goto refuse;
	error = copy_in(&job->input, request->in_buf, request->in_len);
	if (!error)
		error = copy_in(&job->aux, request->aux_buf, request->aux_len);
	if (!error)
		error = copy_in(&job->extra, request->extra_buf, request->extra_len);
	if (!error && request->out_len) {
		job->output = kvzalloc(request->out_len, GFP_KERNEL);
		error = job->output ? 0 : -ENOMEM;
	}
	if (error)
		goto refuse;
	spin_lock(&file->done_lock);
	error = file->in_flight < DEPTH ? 0 : -EAGAIN;
	file->in_flight += !error;
	spin_unlock(&file->done_lock);
	if (error)
		goto refuse;
	job->file = file;
	job->deadline_ns = request->time_ns ? ktime_get_ns() + min_t(u64, request->time_ns, 1ULL << 62) : 0;
	INIT_WORK(&job->work, work);
	queue_work(file->worker, &job->work);
	return 0;

refuse:
	/* The length of an output that was not allocated means nothing. */
	if (!job->output)
		job->request.out_len = 0;
	free_job(job);
	return error;
}

static struct sm_job *take_done(struct sm_file *file)
{
	struct sm_job *job;

	spin_lock(&file->done_lock);
	job = list_first_entry_or_null(&file->done, struct sm_job, link);
	if (job) {
		list_del(&job->link);
		file->in_flight--;
	}
	spin_unlock(&file->done_lock);
	return job;
}

/* Ends what is under way, and forgets what is done and every key. The worker holds no memory of the program's. */
static void reset(struct sm_file *file)
{
	struct sm_job *job;

	WRITE_ONCE(file->stopping, true);
	flush_workqueue(file->worker);
	WRITE_ONCE(file->stopping, false);
	while ((job = take_done(file)))
		free_job(job);
	memzero_explicit(file->keys, sizeof(file->keys));
	file->last_handle = 0;
}

static long sm_ioctl(struct file *filp, unsigned int command, unsigned long argument)
{
	struct sm_file *file = filp->private_data;
	long error = -ENOTTY;

	if (current->mm != file->mm)
		return -EPERM;
	mutex_lock(&file->lock);
	if (command == SM_IOC_CRYPTO) {
		error = submit(file, (struct sm_crypto_request __user *)argument);
	} else if (command == SM_IOC_RESET) {
		reset(file);
		error = 0;
	}
	mutex_unlock(&file->lock);
	return error;
}

static int put_reply(struct sm_job *job, char __user *to)
{
	struct sm_crypto_reply reply = {
		.version = SM_CRYPTO_VERSION,
		.size = sizeof(reply),
		.id = job->request.id,
		.status = job->status,
	};

	if (job->status == SM_CRYPTO_OK) {
		void __user *output = u64_to_user_ptr(job->request.out_buf);

		if (copy_to_user(output, job->output, job->request.out_len))
			reply.status = SM_CRYPTO_DEVICE_ERROR;
		else
			reply.out_len = job->request.out_len;
	}
	return copy_to_user(to, &reply, sizeof(reply)) ? -EFAULT : 0;
}

static bool is_done(struct sm_file *file)
{
	bool done;

	spin_lock(&file->done_lock);
	done = !list_empty(&file->done);
	spin_unlock(&file->done_lock);
	return done;
}

static ssize_t sm_read(struct file *filp, char __user *to, size_t room, loff_t *position)
{
	struct sm_file *file = filp->private_data;
	ssize_t written = 0;

	if (current->mm != file->mm)
		return -EPERM;
	if (room < sizeof(struct sm_crypto_reply))
		return -EINVAL;
	while (room - written >= sizeof(struct sm_crypto_reply)) {
		struct sm_job *job = take_done(file);
		int error;

		if (!job && written)
			break;
		if (!job && filp->f_flags & O_NONBLOCK)
			return -EAGAIN;
		if (!job) {
			error = wait_event_interruptible(file->wait, is_done(file));
			if (error)
				return error;
			continue;
		}
		error = put_reply(job, to + written);
		free_job(job);
		if (error)
			return error;
		written += sizeof(struct sm_crypto_reply);
	}
	return written;
}

static __poll_t sm_poll(struct file *filp, poll_table *table)
{
	struct sm_file *file = filp->private_data;

	poll_wait(filp, &file->wait, table);
	return is_done(file) ? EPOLLIN | EPOLLRDNORM : 0;
}

static int sm_open(struct inode *inode, struct file *filp)
{
	struct sm_file *file = kzalloc(sizeof(*file), GFP_KERNEL);

	if (!file)
		return -ENOMEM;
	file->worker = alloc_ordered_workqueue("sm_crypto", 0);
	if (!file->worker) {
		kfree(file);
		return -ENOMEM;
	}
	mutex_init(&file->lock);
	spin_lock_init(&file->done_lock);
	INIT_LIST_HEAD(&file->done);
	init_waitqueue_head(&file->wait);
	file->mm = current->mm;
	mmgrab(file->mm);
	filp->private_data = file;
	return nonseekable_open(inode, filp);
}

static int sm_release(struct inode *inode, struct file *filp)
{
	struct sm_file *file = filp->private_data;

	reset(file);
	destroy_workqueue(file->worker);
	mmdrop(file->mm);
	kfree_sensitive(file);
	return 0;
}

const struct file_operations sm_files = {
	.owner = THIS_MODULE,
	.open = sm_open,
	.release = sm_release,
	.unlocked_ioctl = sm_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.read = sm_read,
	.poll = sm_poll,
};
