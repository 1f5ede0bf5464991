// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * /dev/sm_crypto without a coprocessor: the interface of crypto-offload/DEVICE.md over the processor itself, for the
 * virtual vehicle computer. Not fast, not constant in time, not for any vehicle.
 */
#include <linux/build_bug.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

#include "device.h"

static struct miscdevice sm_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "sm_crypto",
	.fops = &sm_files,
	.mode = 0600,
};

static int __init sm_init(void)
{
	BUILD_BUG_ON(sizeof(struct sm_crypto_request) != 256);
	BUILD_BUG_ON(offsetof(struct sm_crypto_request, key_handle) != 88);
	BUILD_BUG_ON(offsetof(struct sm_crypto_request, key) != 152);
	BUILD_BUG_ON(sizeof(struct sm_crypto_reply) != 64);
	BUILD_BUG_ON(sizeof(struct sm_crypto_capability) != 128);
	return misc_register(&sm_device);
}

static void __exit sm_exit(void)
{
	misc_deregister(&sm_device);
}

module_init(sm_init);
module_exit(sm_exit);
MODULE_DESCRIPTION("Coprocessor of the virtual vehicle computer");
MODULE_LICENSE("Dual MIT/GPL");
