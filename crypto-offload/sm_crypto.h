/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT OR Apache-2.0 */
/* The coprocessor's interface, version 1, for C: what DEVICE.md says, in numbers. */
#ifndef SM_CRYPTO_H
#define SM_CRYPTO_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define SM_CRYPTO_VERSION 1

#define SM_CRYPTO_MAX_DATA (64 << 20)
#define SM_CRYPTO_MAX_AUX (64 << 10)
#define SM_CRYPTO_MAX_EXTRA 4096
#define SM_CRYPTO_MAX_IV 16
#define SM_CRYPTO_MAX_KEY 64
#define SM_CRYPTO_MAX_DEPTH 1024
#define SM_CRYPTO_MAX_KEYS 1024

/* op */
#define SM_CRYPTO_CAPABILITIES 1
#define SM_CRYPTO_DIGEST 2
#define SM_CRYPTO_HASH_UPDATE 3
#define SM_CRYPTO_OPEN 4
#define SM_CRYPTO_VERIFY 5
#define SM_CRYPTO_LOAD_KEY 6
#define SM_CRYPTO_DROP_KEY 7

/* alg of the operations on hashes */
#define SM_CRYPTO_SHA256 1
#define SM_CRYPTO_SHA512 2
#define SM_CRYPTO_SM3 3
/* alg of the operations on ciphers */
#define SM_CRYPTO_AES128_GCM 1
#define SM_CRYPTO_AES256_GCM 2
#define SM_CRYPTO_SM4_GCM 3
/* alg of SM_CRYPTO_VERIFY */
#define SM_CRYPTO_ED25519 1
#define SM_CRYPTO_ECDSA_P256 2
#define SM_CRYPTO_RSA_PSS 3
#define SM_CRYPTO_SM2 4

/* flags of a request */
#define SM_CRYPTO_KEY_HANDLE 1
#define SM_CRYPTO_IN_PLACE 2
/* flags of a reply */
#define SM_CRYPTO_DEGRADED 1
/* flags of a capability record */
#define SM_CRYPTO_MIDSTATES 1

/* status */
#define SM_CRYPTO_OK 0
#define SM_CRYPTO_TAG_MISMATCH 1
#define SM_CRYPTO_BAD_SIGNATURE 2
#define SM_CRYPTO_BAD_REQUEST 3
#define SM_CRYPTO_UNSUPPORTED 4
#define SM_CRYPTO_DEVICE_ERROR 5
#define SM_CRYPTO_EXPIRED 6
#define SM_CRYPTO_BAD_MIDSTATE 7
#define SM_CRYPTO_NO_KEY 8
#define SM_CRYPTO_NO_ROOM 9

struct sm_crypto_request {
	__u32 version;
	__u32 size;
	__u64 id;
	__u32 op;
	__u32 alg;
	__u32 flags;
	__u32 key_len;
	__u64 in_len;
	__u64 out_len;
	__u64 in_buf;
	__u64 out_buf;
	__u64 aux_buf;
	__u64 extra_buf;
	__u32 aux_len;
	__u32 extra_len;
	__u64 key_handle;
	__u64 time_ns;
	__u64 position;
	__u32 iv_len;
	__u32 reserved;
	__u8 iv[16];
	__u8 tag[16];
	__u8 key[64];
	__u8 reserved_end[40];
};

struct sm_crypto_reply {
	__u32 version;
	__u32 size;
	__u64 id;
	__u32 status;
	__u32 flags;
	__u64 out_len;
	__u64 detail;
	__u8 reserved[24];
};

struct sm_crypto_capability {
	__u32 version;
	__u32 size;
	__u32 hashes;
	__u32 ciphers;
	__u32 schemes;
	__u32 flags;
	__u32 depth;
	__u32 keys;
	__u64 max_bytes;
	__u64 firmware;
	__u8 name[32];
	__u8 reserved[48];
};

#define SM_IOC_CRYPTO _IOWR('S', 0x40, struct sm_crypto_request)
#define SM_IOC_RESET _IO('S', 0x41)

#endif
