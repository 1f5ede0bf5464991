/* SPDX-License-Identifier: GPL-2.0 OR MIT */
#ifndef ALGORITHMS_H
#define ALGORITHMS_H

#include <crypto/aes.h>
#include <crypto/gf128mul.h>
#include <linux/types.h>

struct sm_job;

#define SM_BLOCK_LEN 64
#define SM_DIGEST_LEN 32
/* Chaining value, count of blocks, count of bytes in the unfinished one, and those bytes. */
#define SM_MIDSTATE_LEN (32 + 8 + 64)
#define SM_IV_LEN 12

/* SHA-256 or SM3. */
struct sm_hash {
	void (*compress)(u32 state[8], const u8 block[SM_BLOCK_LEN]);
	u32 state[8];
	u64 blocks;
	u8 count;
	u8 buffer[SM_BLOCK_LEN];
};

bool sm_hash_begin(struct sm_hash *hash, u32 alg);
/* Goes on from a midstate; false where it is none at that position. */
bool sm_hash_load(struct sm_hash *hash, const u8 *midstate, u64 position);
void sm_hash_update(struct sm_hash *hash, const u8 *data, size_t len);
void sm_hash_store(const struct sm_hash *hash, u8 *midstate);
void sm_hash_end(struct sm_hash *hash, u8 *digest);

/* A key in GCM. */
struct sm_gcm {
	bool is_sm4;
	struct crypto_aes_ctx aes;
	u32 sm4[32];
	be128 hash_key;
	u8 counter[16];
};

void sm_gcm_begin(struct sm_gcm *gcm, bool is_sm4, const u8 *key, u32 len, const u8 *iv);
/* The tag first: nothing is opened where it is wrong. */
u32 sm_gcm_open(struct sm_gcm *gcm, struct sm_job *job);

#endif
