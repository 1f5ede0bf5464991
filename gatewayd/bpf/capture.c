/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * Measures in the kernel what the timer cannot see, and adds it up there by thread and stack, so that the service has
 * only sums to read.
 *
 * Stacks are what costs. So a sleep's is taken in advance, by chance: the more likely, the longer the thread slept of
 * late; a time that was chosen with a chance of one in 2^n counts for 2^n. Long times are always told, with the stack if it
 * was taken. A lock's wait is chosen at its end, when its length is known.
 *
 * A program must not be interrupted by another one that needs the same lock of a map: those of contended locks may run
 * wherever the kernel waits for one, in the midst of a map's own code too. They are of the kind that the kernel does not run
 * within others of that kind, nor within the service's calls; within the programs of the other kind `busy` keeps them out.
 */
#include "locks.h"
#include "off_cpu.h"
#include "pages.h"
#include "requests.h"

/* The helpers for stacks and registers are for programs under the GPL, or under that and another licence. */
char LICENSE[] SEC("license") = "Dual MIT/GPL";
