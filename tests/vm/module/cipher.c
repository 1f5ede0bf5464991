// SPDX-License-Identifier: GPL-2.0 OR MIT
/* SM4 (GB/T 32907-2016), and opening in GCM (NIST SP 800-38D) with it or AES. */
#include <crypto/algapi.h>
#include <linux/bitops.h>
#include <linux/string.h>
#include <linux/version.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif

#include "algorithms.h"
#include "device.h"

#define BLOCK 16

static const u8 sbox[256] = {
	0xd6, 0x90, 0xe9, 0xfe, 0xcc, 0xe1, 0x3d, 0xb7, 0x16, 0xb6, 0x14, 0xc2, 0x28, 0xfb, 0x2c, 0x05,
	0x2b, 0x67, 0x9a, 0x76, 0x2a, 0xbe, 0x04, 0xc3, 0xaa, 0x44, 0x13, 0x26, 0x49, 0x86, 0x06, 0x99,
	0x9c, 0x42, 0x50, 0xf4, 0x91, 0xef, 0x98, 0x7a, 0x33, 0x54, 0x0b, 0x43, 0xed, 0xcf, 0xac, 0x62,
	0xe4, 0xb3, 0x1c, 0xa9, 0xc9, 0x08, 0xe8, 0x95, 0x80, 0xdf, 0x94, 0xfa, 0x75, 0x8f, 0x3f, 0xa6,
	0x47, 0x07, 0xa7, 0xfc, 0xf3, 0x73, 0x17, 0xba, 0x83, 0x59, 0x3c, 0x19, 0xe6, 0x85, 0x4f, 0xa8,
	0x68, 0x6b, 0x81, 0xb2, 0x71, 0x64, 0xda, 0x8b, 0xf8, 0xeb, 0x0f, 0x4b, 0x70, 0x56, 0x9d, 0x35,
	0x1e, 0x24, 0x0e, 0x5e, 0x63, 0x58, 0xd1, 0xa2, 0x25, 0x22, 0x7c, 0x3b, 0x01, 0x21, 0x78, 0x87,
	0xd4, 0x00, 0x46, 0x57, 0x9f, 0xd3, 0x27, 0x52, 0x4c, 0x36, 0x02, 0xe7, 0xa0, 0xc4, 0xc8, 0x9e,
	0xea, 0xbf, 0x8a, 0xd2, 0x40, 0xc7, 0x38, 0xb5, 0xa3, 0xf7, 0xf2, 0xce, 0xf9, 0x61, 0x15, 0xa1,
	0xe0, 0xae, 0x5d, 0xa4, 0x9b, 0x34, 0x1a, 0x55, 0xad, 0x93, 0x32, 0x30, 0xf5, 0x8c, 0xb1, 0xe3,
	0x1d, 0xf6, 0xe2, 0x2e, 0x82, 0x66, 0xca, 0x60, 0xc0, 0x29, 0x23, 0xab, 0x0d, 0x53, 0x4e, 0x6f,
	0xd5, 0xdb, 0x37, 0x45, 0xde, 0xfd, 0x8e, 0x2f, 0x03, 0xff, 0x6a, 0x72, 0x6d, 0x6c, 0x5b, 0x51,
	0x8d, 0x1b, 0xaf, 0x92, 0xbb, 0xdd, 0xbc, 0x7f, 0x11, 0xd9, 0x5c, 0x41, 0x1f, 0x10, 0x5a, 0xd8,
	0x0a, 0xc1, 0x31, 0x88, 0xa5, 0xcd, 0x7b, 0xbd, 0x2d, 0x74, 0xd0, 0x12, 0xb8, 0xe5, 0xb4, 0xb0,
	0x89, 0x69, 0x97, 0x4a, 0x0c, 0x96, 0x77, 0x7e, 0x65, 0xb9, 0xf1, 0x09, 0xc5, 0x6e, 0xc6, 0x84,
	0x18, 0xf0, 0x7d, 0xec, 0x3a, 0xdc, 0x4d, 0x20, 0x79, 0xee, 0x5f, 0x3e, 0xd7, 0xcb, 0x39, 0x48,
};

static u32 substitute(u32 x)
{
	return (u32)sbox[x >> 24] << 24 | sbox[x >> 16 & 255] << 16 | sbox[x >> 8 & 255] << 8 | sbox[x & 255];
}

/* GB/T 32907-2016 clause 7.3. */
static void sm4_expand(u32 keys[32], const u8 *key)
{
	static const u32 fk[4] = { 0xa3b1bac6, 0x56aa3350, 0x677d9197, 0xb27022dc };
	u32 k[36];
	int at;

	for (at = 0; at < 4; at++)
		k[at] = get_unaligned_be32(key + 4 * at) ^ fk[at];
	for (at = 0; at < 32; at++) {
		/* Byte j of constant i is 7 (4 i + j). */
		u32 ck = (28 * at & 255) << 24 | ((28 * at + 7) & 255) << 16 | ((28 * at + 14) & 255) << 8 |
			 ((28 * at + 21) & 255);
		u32 b = substitute(k[at + 1] ^ k[at + 2] ^ k[at + 3] ^ ck);

		k[at + 4] = k[at] ^ b ^ rol32(b, 13) ^ rol32(b, 23);
		keys[at] = k[at + 4];
	}
	memzero_explicit(k, sizeof(k));
}

static void sm4_encrypt(const u32 keys[32], u8 *out, const u8 *in)
{
	u32 x[4];
	int at;

	for (at = 0; at < 4; at++)
		x[at] = get_unaligned_be32(in + 4 * at);
	for (at = 0; at < 32; at++) {
		u32 b = substitute(x[1] ^ x[2] ^ x[3] ^ keys[at]);
		u32 next = x[0] ^ b ^ rol32(b, 2) ^ rol32(b, 10) ^ rol32(b, 18) ^ rol32(b, 24);

		x[0] = x[1];
		x[1] = x[2];
		x[2] = x[3];
		x[3] = next;
	}
	for (at = 0; at < 4; at++)
		put_unaligned_be32(x[3 - at], out + 4 * at);
}

static void encrypt(const struct sm_gcm *gcm, u8 *out, const u8 *in)
{
	if (gcm->is_sm4)
		sm4_encrypt(gcm->sm4, out, in);
	else
		aes_encrypt(&gcm->aes, out, in);
}

void sm_gcm_begin(struct sm_gcm *gcm, bool is_sm4, const u8 *key, u32 len, const u8 *iv)
{
	static const u8 zeros[BLOCK];

	memset(gcm, 0, sizeof(*gcm));
	gcm->is_sm4 = is_sm4;
	if (is_sm4)
		sm4_expand(gcm->sm4, key);
	else
		/* Both lengths that come here are AES's. */
		(void)aes_expandkey(&gcm->aes, key, len);
	encrypt(gcm, (u8 *)&gcm->hash_key, zeros);
	memcpy(gcm->counter, iv, SM_IV_LEN);
	put_unaligned_be32(1, gcm->counter + SM_IV_LEN);
}

/* Takes data in, padded with zeros to a whole block; ends early when the job has to. */
static u32 ghash(const struct sm_gcm *gcm, struct sm_job *job, be128 *hash, const u8 *data, u64 len)
{
	u64 at;

	for (at = 0; at < len; at += BLOCK) {
		u8 block[BLOCK] = { 0 };
		u32 status = at % 4096 ? SM_CRYPTO_OK : sm_interrupted(job);

		if (status)
			return status;
		memcpy(block, data + at, min_t(u64, BLOCK, len - at));
		crypto_xor((u8 *)hash, block, BLOCK);
		gf128mul_lle(hash, &gcm->hash_key);
	}
	return SM_CRYPTO_OK;
}

static u32 check_tag(const struct sm_gcm *gcm, struct sm_job *job)
{
	const struct sm_crypto_request *request = &job->request;
	u8 lengths[BLOCK], tag[BLOCK];
	be128 hash = { 0 };
	u32 status = ghash(gcm, job, &hash, job->aux, request->aux_len);

	if (!status)
		status = ghash(gcm, job, &hash, job->input, request->in_len);
	put_unaligned_be64((u64)request->aux_len * 8, lengths);
	put_unaligned_be64(request->in_len * 8, lengths + 8);
	if (!status)
		status = ghash(gcm, job, &hash, lengths, BLOCK);
	if (status)
		return status;
	encrypt(gcm, tag, gcm->counter);
	crypto_xor(tag, (u8 *)&hash, BLOCK);
	return crypto_memneq(tag, request->tag, BLOCK) ? SM_CRYPTO_TAG_MISMATCH : SM_CRYPTO_OK;
}

u32 sm_gcm_open(struct sm_gcm *gcm, struct sm_job *job)
{
	u64 len = job->request.in_len, at;
	u32 status = check_tag(gcm, job);

	for (at = 0; !status && at < len; at += BLOCK) {
		u64 part = min_t(u64, BLOCK, len - at), byte;
		u8 stream[BLOCK];

		if (at % 4096 == 0)
			status = sm_interrupted(job);
		put_unaligned_be32(at / BLOCK + 2, gcm->counter + SM_IV_LEN);
		encrypt(gcm, stream, gcm->counter);
		for (byte = 0; byte < part; byte++)
			job->output[at + byte] = job->input[at + byte] ^ stream[byte];
	}
	return status;
}
