// SPDX-License-Identifier: MIT
/*
 * metadata-changes MOUNT SOURCE [uncached]: makes each kind of change in MOUNT and looks, after each, at everything there and in
 * SOURCE: it must be the same, but for times of access. Everything was looked at before, so that whatever remembers
 * has something to remember. Prints what differs; exits with 1 if anything does. Uncached: also what fs/fuse does not
 * drop its own cached attributes for, changing flags by ioctl.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static const char *at;
static int failures;
static char description[2][1 << 16];

static int cmp(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* Everything there is to see of a file, in words. */
static size_t describe_one(const char *path, const char *shown, char *out, size_t room)
{
	static const char *const attributes[] = { "user.a", "user.b", "security.capability", "system.posix_acl_access" };
	char value[256];
	struct statx status;
	size_t used;

	if (statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &status))
		return snprintf(out, room, "%s: %s\n", shown, strerror(errno));
	used = snprintf(out, room, "%s %llu %o links %u owner %u:%u size %llu blocks %llu m %lld.%u c %lld.%u b %lld.%u", shown,
			status.stx_ino, status.stx_mode, status.stx_nlink, status.stx_uid, status.stx_gid, status.stx_size,
			status.stx_blocks, status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec, status.stx_ctime.tv_sec,
			status.stx_ctime.tv_nsec, status.stx_btime.tv_sec, status.stx_btime.tv_nsec);
	if (S_ISLNK(status.stx_mode)) {
		ssize_t length = readlink(path, value, sizeof(value) - 1);

		value[length < 0 ? 0 : length] = 0;
		used += snprintf(out + used, room - used, " -> %s", value);
	} else {
		struct stat plain;

		if (stat(path, &plain) || (unsigned long long)plain.st_size != status.stx_size || plain.st_nlink != status.stx_nlink)
			used += snprintf(out + used, room - used, " but stat says otherwise");
		for (unsigned int i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
			ssize_t length = getxattr(path, attributes[i], value, sizeof(value));

			used += snprintf(out + used, room - used, " %s=%zd", attributes[i], length < 0 ? -errno : length);
			for (ssize_t at = 0; at < length; at++)
				used += snprintf(out + used, room - used, "%02x", (unsigned char)value[at]);
		}
	}
	return used + snprintf(out + used, room - used, "\n");
}

static size_t describe(const char *root, const char *folder, char *out, size_t room)
{
	char path[512], shown[256];
	struct dirent **entries;
	size_t used = 0;
	int count;

	snprintf(path, sizeof(path), "%s%s", root, folder);
	count = scandir(path, &entries, NULL, cmp);
	for (int i = 0; i < count; i++) {
		const char *name = entries[i]->d_name;

		if (strcmp(name, ".") && strcmp(name, "..")) {
			snprintf(shown, sizeof(shown), "%s/%s", folder, name);
			snprintf(path, sizeof(path), "%s%s", root, shown);
			used += describe_one(path, shown, out + used, room - used);
			if (entries[i]->d_type == DT_DIR)
				used += describe(root, shown, out + used, room - used);
		}
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	/* names that exist only now and then, asked for by name */
	if (!*folder) {
		static const char *const names[] = { "/d", "/d/new", "/d/file", "/d/hard", "/d/moved", "/d/sub/moved", "/e", "/d/made" };

		for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
			snprintf(path, sizeof(path), "%s%s", root, names[i]);
			used += describe_one(path, names[i], out + used, room - used);
		}
	}
	return used;
}

static void look(const char *mount, const char *source, const char *what, int compare)
{
	describe(mount, "", description[0], sizeof(description[0]));
	describe(source, "", description[1], sizeof(description[1]));
	if (!compare || !strcmp(description[0], description[1]))
		return;
	failures++;
	printf("after %s\n", what);
	for (char *a = description[0], *b = description[1]; *a && *b;) {
		int x = strcspn(a, "\n"), y = strcspn(b, "\n");

		if (x != y || strncmp(a, b, x))
			printf("  is shown: %.*s\n  is:       %.*s\n", x, a, y, b);
		a += x + !!a[x];
		b += y + !!b[y];
	}
}

static const char *in(const char *name)
{
	static char paths[4][512];
	static int next;

	next = (next + 1) % 4;
	snprintf(paths[next], sizeof(paths[next]), "%s/%s", at, name);
	return paths[next];
}

static int with(const char *name, int flags, int (*use)(int fd))
{
	int fd = open(in(name), flags, 0644), result;

	if (fd < 0)
		return fd;
	result = use(fd);
	close(fd);
	return result;
}

static int use_write(int fd) { return write(fd, "more", 4); }
static int use_pwrite(int fd) { return pwrite(fd, "more", 4, 20000); }
static int use_truncate(int fd) { return ftruncate(fd, 77); }
static int use_fallocate(int fd) { return fallocate(fd, 0, 0, 50000); }
static int use_punch(int fd) { return fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, 16384); }
static int use_chmod(int fd) { return fchmod(fd, 0604); }
static int use_chown(int fd) { return fchown(fd, 7, 8); }
static int use_nothing(int fd) { return fd; }
static int use_setxattr(int fd) { return fsetxattr(fd, "user.b", "value", 5, 0); }
static int use_copy(int fd)
{
	int from = open(in("other"), O_RDONLY), result = copy_file_range(from, NULL, fd, NULL, 10, 0);

	close(from);
	return result;
}
static int use_map(int fd)
{
	char *map;

	if (ftruncate(fd, 8192))
		return -1;
	map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	map[5000] = 'x';
	msync(map, 8192, MS_SYNC);
	return munmap(map, 8192);
}

#define CAPABILITY "\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
static const unsigned char acl[] = { 2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 4, 0, 7, 0, 0, 0, 4, 0, 4, 0, 255, 255, 255, 255,
	0x10, 0, 4, 0, 255, 255, 255, 255, 0x20, 0, 0, 0, 255, 255, 255, 255 };

#define CHANGE(change)							\
	do {								\
		if ((change) < 0) {					\
			failures++;					\
			printf("%s: %s\n", #change, strerror(errno));	\
		}							\
		look(argv[1], argv[2], #change, 1);			\
		look(argv[1], argv[2], #change ", again", 1);		\
	} while (0)

int main(int argc, char **argv)
{
	struct timespec times[2] = { { 0, UTIME_OMIT }, { 12345, 678 } };
	unsigned int flags = 0x80; /* FS_NOATIME_FL */

	if (argc < 3)
		return 2;
	at = argv[1];
	look(argv[1], argv[2], "", 0);
	CHANGE(mkdir(in("d"), 0755));
	CHANGE(mkdir(in("d/sub"), 0755));
	CHANGE(with("d/file", O_CREAT | O_EXCL | O_WRONLY, use_write));
	CHANGE(with("other", O_CREAT | O_WRONLY, use_pwrite));
	CHANGE(with("d/file", O_WRONLY, use_pwrite));
	CHANGE(with("d/file", O_WRONLY | O_APPEND, use_write));
	CHANGE(with("d/file", O_RDWR, use_truncate));
	CHANGE(with("d/file", O_RDWR, use_fallocate));
	CHANGE(with("d/file", O_RDWR, use_punch));
	CHANGE(with("d/file", O_RDWR, use_copy));
	CHANGE(with("d/file", O_RDWR, use_map));
	CHANGE(with("d/file", O_WRONLY | O_TRUNC, use_nothing));
	CHANGE(truncate(in("d/file"), 100));
	CHANGE(chmod(in("d/file"), 0640));
	CHANGE(with("d/file", O_RDONLY, use_chmod));
	CHANGE(chown(in("d/file"), 3, 4));
	CHANGE(with("d/file", O_RDONLY, use_chown));
	CHANGE(utimensat(AT_FDCWD, in("d/file"), times, 0));
	CHANGE(setxattr(in("d/file"), "user.a", "one", 3, 0));
	CHANGE(setxattr(in("d/file"), "user.a", "longer", 6, XATTR_REPLACE));
	CHANGE(with("d/file", O_RDONLY, use_setxattr));
	CHANGE(removexattr(in("d/file"), "user.a"));
	CHANGE(setxattr(in("d/file"), "system.posix_acl_access", acl, sizeof(acl), 0));
	CHANGE(chmod(in("d/file"), 0600));
	CHANGE(removexattr(in("d/file"), "system.posix_acl_access"));
	CHANGE(setxattr(in("d/file"), "security.capability", CAPABILITY, 20, 0));
	CHANGE(with("d/file", O_WRONLY, use_write));
	CHANGE(link(in("d/file"), in("d/hard")));
	CHANGE(with("d/hard", O_WRONLY, use_pwrite));
	CHANGE(chmod(in("d/hard"), 0444));
	CHANGE(rename(in("d/file"), in("d/moved")));
	CHANGE(rename(in("d/moved"), in("d/sub/moved")));
	CHANGE(rename(in("d/hard"), in("d/file")));
	CHANGE(renameat2(AT_FDCWD, in("d/file"), AT_FDCWD, in("other"), RENAME_EXCHANGE));
	CHANGE(rename(in("other"), in("d/file")));
	CHANGE(rename(in("d/sub"), in("e")));
	CHANGE(mkdir(in("d/made"), 0700));
	CHANGE(renameat2(AT_FDCWD, in("d/made"), AT_FDCWD, in("e"), RENAME_EXCHANGE));
	CHANGE(unlink(in("d/file")));
	CHANGE(unlink(in("d/made/moved")));
	CHANGE(rmdir(in("d/made")));
	CHANGE(symlink("target", in("d/new")));
	CHANGE(symlink("another", in("d/hard")));
	CHANGE(rename(in("d/hard"), in("d/new")));
	CHANGE(unlink(in("d/new")));
	CHANGE(mkfifo(in("d/new"), 0600));
	CHANGE(unlink(in("d/new")));
	CHANGE(mknod(in("d/new"), S_IFCHR | 0600, 0x103));
	CHANGE(unlink(in("d/new")));
	CHANGE(with("d/new", O_CREAT | O_WRONLY, use_write));
	{
		/* without a name */
		int fd = open(in("d/new"), O_RDWR);
		struct stat status;

		CHANGE(unlink(in("d/new")));
		CHANGE(use_pwrite(fd));
		if (fstat(fd, &status) || status.st_nlink || status.st_size != 20004) {
			failures++;
			printf("of a file without a name: %u links, size %lld\n", (unsigned int)status.st_nlink, (long long)status.st_size);
		}
		close(fd);
		fd = open(in("d"), O_TMPFILE | O_RDWR, 0600);
		CHANGE(use_write(fd));
		CHANGE(linkat(fd, "", AT_FDCWD, in("d/new"), AT_EMPTY_PATH));
		close(fd);
		fd = open(in("d/new"), O_RDONLY);
		if (argc > 3)
			CHANGE(ioctl(fd, 0x40086602, &flags));
		close(fd);
	}
	CHANGE(rmdir(in("e")));
	printf("%d wrong\n", failures);
	return failures != 0;
}
