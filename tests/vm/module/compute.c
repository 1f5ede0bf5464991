// SPDX-License-Identifier: GPL-2.0 OR MIT
/* What each operation does. */
#include <linux/string.h>

#include "algorithms.h"
#include "device.h"

static u32 capabilities(struct sm_job *job)
{
	struct sm_crypto_capability *out = (struct sm_crypto_capability *)job->output;

	if (job->request.out_len != sizeof(*out))
		return SM_CRYPTO_BAD_REQUEST;
	out->version = SM_CRYPTO_VERSION;
	out->size = sizeof(*out);
	out->hashes = 1 << SM_CRYPTO_SHA256 | 1 << SM_CRYPTO_SM3;
	out->ciphers = 1 << SM_CRYPTO_AES128_GCM | 1 << SM_CRYPTO_AES256_GCM | 1 << SM_CRYPTO_SM4_GCM;
	out->flags = SM_CRYPTO_MIDSTATES;
	out->depth = DEPTH;
	out->keys = KEYS;
	out->max_bytes = MAX_BYTES;
	out->firmware = 1;
	strscpy(out->name, "vm-module", sizeof(out->name));
	return SM_CRYPTO_OK;
}

/* Hashes in slices, so that a reset or the end of its time can end it. */
static u32 hash_input(struct sm_job *job, struct sm_hash *hash)
{
	u64 done = 0;

	while (done < job->request.in_len) {
		size_t slice = min_t(u64, job->request.in_len - done, 16384);
		u32 status = sm_interrupted(job);

		if (status)
			return status;
		sm_hash_update(hash, job->input + done, slice);
		done += slice;
	}
	return SM_CRYPTO_OK;
}

static u32 digest(struct sm_job *job)
{
	struct sm_hash hash;
	u32 status;

	if (!sm_hash_begin(&hash, job->request.alg))
		return SM_CRYPTO_UNSUPPORTED;
	if (job->request.out_len != SM_DIGEST_LEN)
		return SM_CRYPTO_BAD_REQUEST;
	sm_hash_update(&hash, job->aux, job->request.aux_len);
	status = hash_input(job, &hash);
	if (status == SM_CRYPTO_OK)
		sm_hash_end(&hash, job->output);
	return status;
}

static u32 hash_update(struct sm_job *job)
{
	struct sm_hash hash;
	u32 status;

	if (!sm_hash_begin(&hash, job->request.alg))
		return SM_CRYPTO_UNSUPPORTED;
	if (job->request.out_len != SM_MIDSTATE_LEN)
		return SM_CRYPTO_BAD_REQUEST;
	if (job->request.extra_len || job->request.position) {
		if (job->request.extra_len != SM_MIDSTATE_LEN ||
		    !sm_hash_load(&hash, job->extra, job->request.position))
			return SM_CRYPTO_BAD_MIDSTATE;
	}
	status = hash_input(job, &hash);
	if (status == SM_CRYPTO_OK)
		sm_hash_store(&hash, job->output);
	return status;
}

static struct sm_key *find_key(struct sm_file *file, u64 handle)
{
	int at;

	for (at = 0; at < KEYS; at++) {
		if (file->keys[at].handle == handle)
			return &file->keys[at];
	}
	return NULL;
}

static u32 key_len(u32 alg)
{
	switch (alg) {
	case SM_CRYPTO_AES128_GCM:
	case SM_CRYPTO_SM4_GCM:
		return 16;
	case SM_CRYPTO_AES256_GCM:
		return 32;
	default:
		return 0;
	}
}

static u32 open_sealed(struct sm_job *job)
{
	struct sm_crypto_request *request = &job->request;
	const u8 *key = request->key;
	u32 len = request->key_len;
	struct sm_gcm gcm;
	u32 status;

	if (!key_len(request->alg))
		return SM_CRYPTO_UNSUPPORTED;
	if (request->iv_len != SM_IV_LEN || request->out_len != request->in_len)
		return SM_CRYPTO_BAD_REQUEST;
	if (request->flags & SM_CRYPTO_KEY_HANDLE) {
		struct sm_key *found = find_key(job->file, request->key_handle);

		if (!found)
			return SM_CRYPTO_NO_KEY;
		if (found->alg != request->alg)
			return SM_CRYPTO_BAD_REQUEST;
		key = found->bytes;
		len = found->len;
	}
	if (len != key_len(request->alg))
		return SM_CRYPTO_BAD_REQUEST;
	sm_gcm_begin(&gcm, request->alg == SM_CRYPTO_SM4_GCM, key, len, request->iv);
	status = sm_gcm_open(&gcm, job);
	memzero_explicit(&gcm, sizeof(gcm));
	return status;
}

static u32 load_key(struct sm_job *job)
{
	struct sm_crypto_request *request = &job->request;
	struct sm_file *file = job->file;
	struct sm_key *room = find_key(file, 0);

	if (!key_len(request->alg))
		return SM_CRYPTO_UNSUPPORTED;
	if (request->key_len != key_len(request->alg) || request->out_len != sizeof(u64))
		return SM_CRYPTO_BAD_REQUEST;
	if (!room)
		return SM_CRYPTO_NO_ROOM;
	room->handle = ++file->last_handle;
	room->alg = request->alg;
	room->len = request->key_len;
	memcpy(room->bytes, request->key, request->key_len);
	memcpy(job->output, &room->handle, sizeof(u64));
	return SM_CRYPTO_OK;
}

static u32 drop_key(struct sm_job *job)
{
	struct sm_key *found;

	if (!(job->request.flags & SM_CRYPTO_KEY_HANDLE) || job->request.out_len)
		return SM_CRYPTO_BAD_REQUEST;
	found = find_key(job->file, job->request.key_handle);
	if (!found)
		return SM_CRYPTO_NO_KEY;
	memzero_explicit(found, sizeof(*found));
	return SM_CRYPTO_OK;
}

u32 sm_compute(struct sm_job *job)
{
	u32 status = sm_interrupted(job);

	if (status)
		return status;
	switch (job->request.op) {
	case SM_CRYPTO_CAPABILITIES:
		return capabilities(job);
	case SM_CRYPTO_DIGEST:
		return digest(job);
	case SM_CRYPTO_HASH_UPDATE:
		return hash_update(job);
	case SM_CRYPTO_OPEN:
		return open_sealed(job);
	case SM_CRYPTO_LOAD_KEY:
		return load_key(job);
	case SM_CRYPTO_DROP_KEY:
		return drop_key(job);
	default:
		return SM_CRYPTO_UNSUPPORTED;
	}
}
