// SPDX-License-Identifier: GPL-2.0-only
/* Reads and writes go to the backing file that is bound to the inode, without the server. */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/fuse.h>
#include <bpf/bpf_helpers.h>
#include "../efuse.h"

char LICENSE[] SEC("license") = "GPL";

__u64 reads, writes, passed;

SEC("struct_ops.s/read")
int EFUSE_HOOK(io_read)
{
	if (bpf_efuse_read_backing(ctx, 0, ctx->size) < 0) {
		__sync_fetch_and_add(&passed, 1);
		return EFUSE_PASS;
	}
	__sync_fetch_and_add(&reads, 1);
	return EFUSE_DONE;
}

SEC("struct_ops.s/write")
int EFUSE_HOOK(io_write)
{
	int written = bpf_efuse_write_backing(ctx, 0, ctx->size);

	if (written == -ENOENT || written == -EAGAIN || written == -EBADF) {
		__sync_fetch_and_add(&passed, 1);
		return EFUSE_PASS;
	}
	if (written < 0)
		return written;
	__sync_fetch_and_add(&writes, 1);
	return EFUSE_DONE;
}

SEC(".struct_ops.link")
struct efuse_ops io = {
	.read = (void *)io_read,
	.write = (void *)io_write,
	.name = "io",
};
