// SPDX-License-Identifier: GPL-2.0-only
/*
 * A file that no server knows: /synthetic, of SIZE bytes. LOOKUP, GETATTR, OPEN and READ are answered here.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <linux/fuse.h>
#include <linux/stat.h>
#include <bpf/bpf_helpers.h>
#include "../efuse.h"

char LICENSE[] SEC("license") = "GPL";

#define NODEID (EFUSE_SYNTHETIC_BASE + 1)
#define SIZE 10000

static const char NAME[] = "synthetic";

__u64 answered;

static __always_inline void fill_attr(struct fuse_attr *attr)
{
	attr->ino = NODEID;
	attr->size = SIZE;
	attr->blocks = (SIZE + 511) / 512;
	attr->mode = S_IFREG | 0444;
	attr->nlink = 1;
}

SEC("struct_ops/lookup")
int EFUSE_HOOK(synthetic_lookup)
{
	struct fuse_entry_out entry = { .nodeid = NODEID };
	char name[16];

	if (ctx->nodeid != FUSE_ROOT_ID || bpf_efuse_name(ctx, 0, name, sizeof(name)) < 0)
		return EFUSE_PASS;
	if (bpf_strncmp(name, sizeof(name), NAME))
		return EFUSE_PASS;
	fill_attr(&entry.attr);
	if (bpf_efuse_reply_entry(ctx, &entry, sizeof(entry)))
		return EFUSE_PASS;
	__sync_fetch_and_add(&answered, 1);
	return EFUSE_DONE;
}

SEC("struct_ops/getattr")
int EFUSE_HOOK(synthetic_getattr)
{
	struct fuse_attr_out attr = {};

	if (ctx->nodeid != NODEID)
		return EFUSE_PASS;
	fill_attr(&attr.attr);
	if (bpf_efuse_reply_attr(ctx, &attr, sizeof(attr)))
		return EFUSE_PASS;
	__sync_fetch_and_add(&answered, 1);
	return EFUSE_DONE;
}

SEC("struct_ops/open")
int EFUSE_HOOK(synthetic_open)
{
	if (ctx->nodeid != NODEID || bpf_efuse_reply_open(ctx, 0))
		return EFUSE_PASS;
	__sync_fetch_and_add(&answered, 1);
	return EFUSE_DONE;
}

#define PERIOD 256
#define CHUNK 128

/* Byte n of the file is n modulo PERIOD. */
SEC("struct_ops/read")
int EFUSE_HOOK(synthetic_read)
{
	__u8 pattern[PERIOD + CHUNK];
	__u32 left = 0, done = 0;

	if (ctx->nodeid != NODEID)
		return EFUSE_PASS;
	if (ctx->offset < SIZE)
		left = SIZE - ctx->offset;
	if (left > ctx->size)
		left = ctx->size;
	/* all of it is zero until it is filled in; nothing behind the end */
	if (bpf_efuse_reply_size(ctx, left))
		return EFUSE_PASS;

	for (int i = 0; i < sizeof(pattern); i++)
		pattern[i] = i % PERIOD;
	for (int i = 0; i <= SIZE / CHUNK && left > 0; i++) {
		__u8 *from = pattern + ((ctx->offset + done) & (PERIOD - 1));

		if (left >= CHUNK) {
			if (bpf_efuse_reply_data(ctx, done, from, CHUNK))
				return -EIO;
			left -= CHUNK;
			done += CHUNK;
		} else {
			if (bpf_efuse_reply_data(ctx, done, from, left & (CHUNK - 1)))
				return -EIO;
			left = 0;
		}
	}
	__sync_fetch_and_add(&answered, 1);
	return EFUSE_DONE;
}

SEC(".struct_ops.link")
struct efuse_ops synthetic = {
	.lookup = (void *)synthetic_lookup,
	.getattr = (void *)synthetic_getattr,
	.open = (void *)synthetic_open,
	.read = (void *)synthetic_read,
	.name = "synthetic",
};
