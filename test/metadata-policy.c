// SPDX-License-Identifier: MIT
/* The rules of bpf/metadata.h, on the host: a word for each failure; nothing when they hold. */
#include <linux/fuse.h>
#include <stdio.h>
#include "../bpf/metadata.h"

#define SECOND 1000000000ULL
#define EXPECT(condition) do { if (!(condition)) { printf("line %d: %s\n", __LINE__, #condition); failed = 1; } } while (0)

static int failed;

/* Times after each other: what was learned when may be said when. */
static void generations(void)
{
	/* nothing has ever changed */
	EXPECT(md_stands(0, 0, 1));
	/* changed before it was asked, and since */
	EXPECT(md_stands(0, 5, 5));
	EXPECT(md_stands(0, 5, 6));
	EXPECT(!md_stands(0, 6, 5));
	/* whatever the times are, not while it changes */
	EXPECT(!md_stands(1, 5, 6));
	EXPECT(!md_stands(~0ULL, 0, ~0ULL));
}

static void lives(void)
{
	__u64 valid;
	__u32 nsec;

	EXPECT(md_expires(MD_FOREVER, 7, 0, 0) == MD_FOREVER);
	/* the server says 0: it is not kept */
	EXPECT(md_expires(MD_SERVER, 7, 0, 0) == 0);
	EXPECT(md_expires(MD_SERVER, 7, 1, 5) == 7 + SECOND + 5);
	EXPECT(md_expires(MD_SERVER, 7, ~0ULL, 0) == MD_FOREVER);
	EXPECT(md_expires(3, 7, 100, 0) == 10);

	/* what the kernel is told never outlasts the record */
	for (__u64 expires = 0; expires < 4 * SECOND; expires += SECOND / 4) {
		for (__u64 now = 0; now < 4 * SECOND; now += SECOND / 4) {
			for (__u64 said = 0; said < 4; said++) {
				valid = said;
				nsec = 250000000;
				md_remaining(expires, now, &valid, &nsec);
				EXPECT(valid * SECOND + nsec <= said * SECOND + 250000000);
				EXPECT(now + valid * SECOND + nsec <= (expires > now ? expires : now));
				EXPECT(nsec < SECOND);
			}
		}
	}
	valid = ~0ULL;
	nsec = 0;
	md_remaining(5 * SECOND, 3 * SECOND, &valid, &nsec);
	EXPECT(valid == 2 && nsec == 0);
	valid = 1;
	md_remaining(MD_FOREVER, 3, &valid, &nsec);
	EXPECT(valid == 1);
}

static void changes(void)
{
	const __u32 made = MD_NODE_ATTR | MD_NODE_LIST | MD_NAME_1;
	__u32 opcode;

	/* numbers in the table are the kernel's */
	EXPECT(md_changes(FUSE_LOOKUP, 0) == 0 && md_changes(FUSE_GETATTR, 0) == 0 && md_changes(FUSE_GETXATTR, 0) == 0);
	EXPECT(md_changes(FUSE_WRITE, 0) & MD_NODE_ATTR && md_changes(FUSE_FALLOCATE, 0) & MD_NODE_ATTR);
	EXPECT(md_changes(FUSE_COPY_FILE_RANGE, 0) & MD_OTHER_ATTR);
	EXPECT((md_changes(FUSE_SETATTR, 0) & (MD_NODE_ATTR | MD_NODE_RIGHTS)) == (MD_NODE_ATTR | MD_NODE_RIGHTS));
	EXPECT((md_changes(FUSE_SETXATTR, 0) & MD_NODE_RIGHTS) && (md_changes(FUSE_REMOVEXATTR, 0) & MD_NODE_RIGHTS));
	EXPECT((md_changes(FUSE_CREATE, 0) & made) == made && (md_changes(FUSE_MKNOD, 0) & made) == made);
	EXPECT((md_changes(FUSE_MKDIR, 0) & made) == made && (md_changes(FUSE_SYMLINK, 0) & made) == made);
	EXPECT((md_changes(FUSE_UNLINK, 0) & (made | MD_TARGETS)) == (made | MD_TARGETS));
	EXPECT((md_changes(FUSE_RMDIR, 0) & (made | MD_TARGETS)) == (made | MD_TARGETS));
	EXPECT((md_changes(FUSE_LINK, 0) & (made | MD_OTHER_ATTR)) == (made | MD_OTHER_ATTR));
	EXPECT((md_changes(FUSE_RENAME, 0) & (made | MD_NAME_2 | MD_TARGETS)) == (made | MD_NAME_2 | MD_TARGETS));
	EXPECT(md_changes(FUSE_RENAME2, 0) == md_changes(FUSE_RENAME, 0));
	EXPECT(md_changes(FUSE_FORGET, 0) & MD_NODE_SELF && md_changes(FUSE_BATCH_FORGET, 0) & MD_NODE_SELF);
	EXPECT(md_changes(FUSE_IOCTL, 0) & MD_NODE_ATTR);
	EXPECT(md_changes(FUSE_READ, 0) == MD_NODE_ATIME && md_changes(FUSE_READDIRPLUS, 0) == MD_NODE_ATIME);
	/* opening changes something if it truncates, closing if it could be written */
	EXPECT(md_changes(FUSE_OPEN, 0) == 0 && md_changes(FUSE_OPEN, 1 | MD_O_TRUNC) == MD_NODE_ATTR);
	EXPECT(md_changes(FUSE_RELEASE, 1) == MD_NODE_ATTR && md_changes(FUSE_RELEASE, 0) == 0);
	/* the kernel may have read it past the server */
	EXPECT(md_changes(EFUSE_BACKING_UNUSED, 0) == MD_NODE_ATIME);
	/* what is not known, or not for this connection to have */
	for (opcode = 54; opcode < 10000; opcode++)
		EXPECT(md_changes(opcode, 0) == MD_ALL);
	EXPECT(md_changes(EFUSE_NOTIFY + FUSE_NOTIFY_INVAL_INODE, 0) & MD_NODE_ATTR);
	EXPECT(md_changes(EFUSE_NOTIFY + FUSE_NOTIFY_INVAL_ENTRY, 0) & MD_NAME_1);
	EXPECT(md_changes(EFUSE_NOTIFY + FUSE_NOTIFY_DELETE, 0) & MD_TARGETS);
	EXPECT(md_changes(EFUSE_NOTIFY + 8, 0) == MD_ALL);
	EXPECT(md_changes(EFUSE_NOTIFY + 100, 0) == MD_ALL);
}

static void hashes(void)
{
	__u64 name[MD_NAME / 8] = { 'a' }, other[MD_NAME / 8] = { 0, 'a' };
	static unsigned int places[1024];
	__u32 most = 0;

	EXPECT(md_name_hash(1, 2, name, MD_NAME / 8) != md_name_hash(1, 2, other, MD_NAME / 8));
	EXPECT(md_name_hash(1, 2, name, MD_NAME / 8) != md_name_hash(1, 3, name, MD_NAME / 8));
	EXPECT(md_name_hash(1, 2, name, MD_NAME / 8) != md_name_hash(2, 2, name, MD_NAME / 8));
	EXPECT(md_facet_hash(1, 2, MD_ATTR) != md_facet_hash(1, 2, MD_LIST));
	/* inode numbers that follow each other, as they do, spread */
	for (__u64 nodeid = 1; nodeid <= 16 * 1024; nodeid++) {
		__u32 *place = &places[md_facet_hash(0x1234567890abcdefULL, nodeid << 32 | 0x5678, MD_ATTR) & 1023];

		if (++*place > most)
			most = *place;
	}
	EXPECT(most < 48);
}

/* What metadataMemory() counts with. */
_Static_assert(sizeof(struct md_attr) == 152 && sizeof(struct md_entry) == 136 && sizeof(struct md_xattr) == 144 &&
	       sizeof(struct md_link) == 256 && sizeof(struct md_access) == 48 && sizeof(struct md_open) == 64, "sizes");

int main(void)
{
	generations();
	lives();
	changes();
	hashes();
	return failed;
}
