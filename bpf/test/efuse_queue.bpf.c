// SPDX-License-Identifier: GPL-2.0-only
/* All requests to one io_uring queue: `choice` says which, and may be no queue at all. */
#include <linux/bpf.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../efuse.h"

char LICENSE[] SEC("license") = "GPL";

/* what the program returns: EFUSE_QUEUE(n), 0 for that of the caller's CPU, or nonsense */
__s32 choice;
__u64 asked, background;
__u32 nr_queues, largest;

SEC("struct_ops/select_queue")
int EFUSE_HOOK(queue_select_queue)
{
	__sync_fetch_and_add(&asked, 1);
	if (ctx->background)
		__sync_fetch_and_add(&background, 1);
	if (ctx->size > largest)
		largest = ctx->size;
	nr_queues = ctx->nr_queues;
	return choice;
}

SEC(".struct_ops.link")
struct efuse_ops queue = {
	.select_queue = (void *)queue_select_queue,
	.name = "queue",
};
