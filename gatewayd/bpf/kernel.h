/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * What the programs need of the kernel, written out by hand, so that neither the kernel's headers nor libbpf's are needed
 * to build them. Of each of the kernel's structures only the fields in use are named, in any order: where they lie in the
 * running kernel is filled in from its BTF when the programs are loaded.
 */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

/* A map, as loaders read it from the types of this structure's members. */
#define MAP(name, map_type, entries, map_key, map_value)                                                               \
	struct {                                                                                                           \
		int (*type)[map_type];                                                                                         \
		int (*max_entries)[entries];                                                                                   \
		map_key *key;                                                                                                  \
		map_value *value;                                                                                              \
	} name SEC(".maps")

/* Longest name of a thread, with the zero at its end. */
#define COMM 16

enum { HASH = 1, ARRAY = 2, PERCPU_ARRAY = 6, LRU_HASH = 9 };

/* Flags of an update: whatever is there, or only where nothing is. */
enum { ANY = 0, NOEXIST = 1 };

/* Helpers, by their numbers. */
static void *(*const lookup)(void *map, const void *key) = (void *)1;
static long (*const update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*const forget)(void *map, const void *key) = (void *)3;
static u64 (*const clock_ns)(void) = (void *)5;
static u32 (*const random_u32)(void) = (void *)7;
static u64 (*const current_pid_tgid)(void) = (void *)14;
static long (*const current_comm)(void *buffer, u32 size) = (void *)16;
static long (*const get_stack)(void *ctx, void *buffer, u32 size, u64 flags) = (void *)67;
static long (*const task_pt_regs)(void *task) = (void *)175;

#define USER_STACK (1 << 8)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sched_entity {
	u64 sum_exec_runtime;
};

struct sched_info {
	unsigned long long run_delay;
};

struct task_struct {
	int pid;
	int tgid;
	void *mm;
	struct sched_entity se;
	struct sched_info sched_info;
};

struct gendisk {
	int major;
	int first_minor;
};

struct request_queue {
	struct gendisk *disk;
};

struct request {
	struct request_queue *q;
	u32 cmd_flags;
};

/* The registers of a system call: its number and its second and third arguments. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long orig_ax;
	unsigned long si;
	unsigned long dx;
};
#define SYSCALL(regs) ((regs)->orig_ax)
#define SECOND(regs) ((regs)->si)
#define THIRD(regs) ((regs)->dx)
#define FUTEX 202
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	u64 regs[31];
	int syscallno;
};
#define SYSCALL(regs) ((u64)(regs)->syscallno)
#define SECOND(regs) ((regs)->regs[1])
#define THIRD(regs) ((regs)->regs[2])
#define FUTEX 98
#elif defined(__TARGET_ARCH_riscv)
struct pt_regs {
	unsigned long a1;
	unsigned long a2;
	unsigned long a7;
};
#define SYSCALL(regs) ((regs)->a7)
#define SECOND(regs) ((regs)->a1)
#define THIRD(regs) ((regs)->a2)
#define FUTEX 98
#else
#error "no registers known for this processor"
#endif

#pragma clang attribute pop

/* Its number is another in other kernels. */
enum req_flag_bits { __REQ_FUA = 17 };

#define FIELD_EXISTS(field) __builtin_preserve_field_info(field, 2)
#define ENUM_VALUE(type, value) __builtin_preserve_enum_value(*(typeof(type) *)value, 1)
