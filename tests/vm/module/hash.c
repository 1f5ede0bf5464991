// SPDX-License-Identifier: GPL-2.0 OR MIT
/* SHA-256 (FIPS 180-4) and SM3 (GB/T 32905-2016), with midstates. */
#include <linux/bitops.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <linux/version.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif

#include "algorithms.h"
#include "device.h"

static const u32 sha256_begin[8] = {
	0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static const u32 sm3_begin[8] = {
	0x7380166f, 0x4914b2b9, 0x172442d7, 0xda8a0600, 0xa96f30bc, 0x163138aa, 0xe38dee4d, 0xb0fb0e4e,
};

static const u32 sha256_constants[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* FIPS 180-4 clause 6.2.2. */
static void sha256_compress(u32 state[8], const u8 block[SM_BLOCK_LEN])
{
	u32 w[64], v[8];
	int at;

	for (at = 0; at < 16; at++)
		w[at] = get_unaligned_be32(block + 4 * at);
	for (at = 16; at < 64; at++) {
		u32 s0 = ror32(w[at - 15], 7) ^ ror32(w[at - 15], 18) ^ w[at - 15] >> 3;
		u32 s1 = ror32(w[at - 2], 17) ^ ror32(w[at - 2], 19) ^ w[at - 2] >> 10;

		w[at] = w[at - 16] + s0 + w[at - 7] + s1;
	}
	memcpy(v, state, sizeof(v));
	for (at = 0; at < 64; at++) {
		u32 s1 = ror32(v[4], 6) ^ ror32(v[4], 11) ^ ror32(v[4], 25);
		u32 t1 = v[7] + s1 + ((v[4] & v[5]) ^ (~v[4] & v[6])) + sha256_constants[at] + w[at];
		u32 s0 = ror32(v[0], 2) ^ ror32(v[0], 13) ^ ror32(v[0], 22);
		u32 t2 = s0 + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));

		memmove(v + 1, v, 7 * sizeof(*v));
		v[4] += t1;
		v[0] = t1 + t2;
	}
	for (at = 0; at < 8; at++)
		state[at] += v[at];
}

static u32 p1(u32 x)
{
	return x ^ rol32(x, 15) ^ rol32(x, 23);
}

/* GB/T 32905-2016 clause 5.3. */
static void sm3_compress(u32 state[8], const u8 block[SM_BLOCK_LEN])
{
	u32 w[68], v[8];
	int at;

	for (at = 0; at < 16; at++)
		w[at] = get_unaligned_be32(block + 4 * at);
	for (at = 16; at < 68; at++)
		w[at] = p1(w[at - 16] ^ w[at - 9] ^ rol32(w[at - 3], 15)) ^ rol32(w[at - 13], 7) ^ w[at - 6];
	memcpy(v, state, sizeof(v));
	for (at = 0; at < 64; at++) {
		bool early = at < 16;
		u32 t = rol32(early ? 0x79cc4519 : 0x7a879d8a, at % 32);
		u32 ss1 = rol32(rol32(v[0], 12) + v[4] + t, 7);
		u32 ff = early ? v[0] ^ v[1] ^ v[2] : (v[0] & v[1]) | (v[0] & v[2]) | (v[1] & v[2]);
		u32 gg = early ? v[4] ^ v[5] ^ v[6] : (v[4] & v[5]) | (~v[4] & v[6]);
		u32 tt1 = ff + v[3] + (ss1 ^ rol32(v[0], 12)) + (w[at] ^ w[at + 4]);
		u32 tt2 = gg + v[7] + ss1 + w[at];

		v[3] = v[2];
		v[2] = rol32(v[1], 9);
		v[1] = v[0];
		v[0] = tt1;
		v[7] = v[6];
		v[6] = rol32(v[5], 19);
		v[5] = v[4];
		v[4] = tt2 ^ rol32(tt2, 9) ^ rol32(tt2, 17);
	}
	for (at = 0; at < 8; at++)
		state[at] ^= v[at];
}

bool sm_hash_begin(struct sm_hash *hash, u32 alg)
{
	memset(hash, 0, sizeof(*hash));
	switch (alg) {
	case SM_CRYPTO_SHA256:
		hash->compress = sha256_compress;
		memcpy(hash->state, sha256_begin, sizeof(hash->state));
		return true;
	case SM_CRYPTO_SM3:
		hash->compress = sm3_compress;
		memcpy(hash->state, sm3_begin, sizeof(hash->state));
		return true;
	default:
		return false;
	}
}

bool sm_hash_load(struct sm_hash *hash, const u8 *midstate, u64 position)
{
	int at;

	for (at = 0; at < 8; at++)
		hash->state[at] = get_unaligned_le32(midstate + 4 * at);
	hash->blocks = get_unaligned_le64(midstate + 32);
	hash->count = midstate[40];
	if (hash->count >= SM_BLOCK_LEN || position / SM_BLOCK_LEN != hash->blocks ||
	    position % SM_BLOCK_LEN != hash->count)
		return false;
	memcpy(hash->buffer, midstate + 41, SM_BLOCK_LEN - 1);
	return !memchr_inv(midstate + 41 + hash->count, 0, SM_BLOCK_LEN - 1 - hash->count);
}

void sm_hash_update(struct sm_hash *hash, const u8 *data, size_t len)
{
	while (len) {
		size_t part = min_t(size_t, len, SM_BLOCK_LEN - hash->count);

		memcpy(hash->buffer + hash->count, data, part);
		hash->count += part;
		data += part;
		len -= part;
		if (hash->count == SM_BLOCK_LEN) {
			hash->compress(hash->state, hash->buffer);
			hash->blocks++;
			hash->count = 0;
		}
	}
}

void sm_hash_store(const struct sm_hash *hash, u8 *midstate)
{
	int at;

	memset(midstate, 0, SM_MIDSTATE_LEN);
	for (at = 0; at < 8; at++)
		put_unaligned_le32(hash->state[at], midstate + 4 * at);
	put_unaligned_le64(hash->blocks, midstate + 32);
	midstate[40] = hash->count;
	memcpy(midstate + 41, hash->buffer, hash->count);
}

void sm_hash_end(struct sm_hash *hash, u8 *digest)
{
	static const u8 one = 0x80, zero;
	u64 bits = (hash->blocks * SM_BLOCK_LEN + hash->count) * 8;
	u8 length[8];
	int at;

	put_unaligned_be64(bits, length);
	sm_hash_update(hash, &one, 1);
	while (hash->count != SM_BLOCK_LEN - sizeof(length))
		sm_hash_update(hash, &zero, 1);
	sm_hash_update(hash, length, sizeof(length));
	for (at = 0; at < 8; at++)
		put_unaligned_be32(hash->state[at], digest + 4 * at);
}
