// SPDX-License-Identifier: MIT
/*
 * metadata-check MOUNT SOURCE PROCESSES OPERATIONS SEED BEHIND BOUND
 *
 * Random operations on a mount from several processes, each answer compared with those that are allowed.
 *
 * Every object has a version, which its writers count up one after the other, and which shows in what the mount tells of
 * it: a file's size, its time of change, its mode, its number of links, what a name or a link means, an attribute, what
 * a directory lists. `started` is raised before a version is made, `done` afterwards. Who looks reads `done` before and
 * `started` after: what it sees must be a version in between, and none older than what anybody has seen.
 *
 * BEHIND percent of the changes are made in SOURCE, behind the mount's back; if any are, all of names and sizes. These
 * may be missed for BOUND milliseconds, and for as long as a look takes: a time-out counts from the answer on, and what
 * is answered was so at some time after it was asked for. So that this allows for delays of the machine and not of a
 * cache, it is the longest of those looks at the object that were under way since the change. The kernel's own time-outs
 * count its ticks, which a virtual machine gets late when its CPUs are taken away (64 ms seen): BOUND is counted by the
 * clock that stands still between ticks, too.
 * Prints how many operations of each kind there were, and the longest look; exits with 1 and a line for each wrong
 * answer, up to ten.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum kind { SIZE, MTIME, MODE, NLINK, NAME, XATTR, SYMLINK, DIRECTORY, EXCHANGE, KINDS };
static const char *const kinds[] = { "size", "mtime", "mode", "nlink", "name", "xattr", "symlink", "directory", "exchange" };
#define EACH 6
#define OBJECTS (KINDS * EACH)
#define LINKS 7
#define REMEMBERED 1024
#define LOOKS 256

struct look {
	/* nanoseconds; `end` 0: under way */
	atomic_ullong begin, end;
};

struct object {
	atomic_int busy;
	atomic_uint started, done, seen;
	/* when each version was done, nanoseconds; 0: through the mount */
	atomic_ullong when[REMEMBERED];
	/* the last ones */
	struct look looks[LOOKS];
	atomic_uint looked;
};

struct shared {
	struct object objects[OBJECTS];
	atomic_uint wrong, reads[KINDS], writes[KINDS];
	atomic_ullong longest;
};

static struct shared *shared;
static const char *mount_at, *source_at;
static unsigned int behind;
static unsigned long long bound;
static unsigned long long random_state;
static int me;

static unsigned int random_below(unsigned int limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 20) % limit;
}

static unsigned long long nanoseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static void wrong(const char *format, ...)
{
	va_list list;
	char line[512];

	if (atomic_fetch_add(&shared->wrong, 1) >= 10)
		return;
	va_start(list, format);
	vsnprintf(line, sizeof(line), format, list);
	va_end(list);
	printf("wrong: %s\n", line);
	fflush(stdout);
}

static void path_of(char *path, const char *at, int object, const char *rest)
{
	sprintf(path, "%s/d%d/%s%d%s", at, object % EACH % 3, kinds[object / EACH], object % EACH, rest);
}

/* How many further links, or subdirectories, a version has: up to LINKS and down again. */
static unsigned int further(unsigned int version)
{
	unsigned int step = version % (2 * LINKS);

	return step <= LINKS ? step : 2 * LINKS - step;
}

static int check(int result, const char *what, const char *path)
{
	if (result < 0)
		wrong("%s %s: %s", what, path, strerror(errno));
	return result;
}

/* Brings an object from version - 1 to version. */
static int make(int object, unsigned int version, const char *at)
{
	char path[256], other[256], rest[32];
	struct timespec times[2];
	int fd, result = 0;

	path_of(path, at, object, "");
	switch (object / EACH) {
	case SIZE:
		switch (random_below(4)) {
		case 0:
			return check(truncate(path, version), "truncate", path);
		case 1:
			fd = check(open(path, O_WRONLY | O_APPEND), "open", path);
			if (fd < 0)
				return fd;
			result = write(fd, "x", 1);
			break;
		case 2:
			fd = check(open(path, O_RDWR), "open", path);
			if (fd < 0)
				return fd;
			result = ftruncate(fd, version);
			break;
		default:
			fd = check(open(path, O_WRONLY), "open", path);
			if (fd < 0)
				return fd;
			result = fallocate(fd, 0, 0, version);
			if (result < 0 && errno == EOPNOTSUPP)
				result = ftruncate(fd, version);
		}
		close(fd);
		return check(result, "change the size of", path);
	case MTIME:
		times[0].tv_nsec = UTIME_OMIT;
		times[1].tv_sec = version;
		times[1].tv_nsec = 0;
		return check(utimensat(AT_FDCWD, path, times, 0), "utimensat", path);
	case MODE:
		return check(chmod(path, 0400 | (version & 0377)), "chmod", path);
	case NLINK:
		sprintf(rest, ".%u", further(version) > further(version - 1) ? further(version) : further(version - 1));
		path_of(other, at, object, rest);
		if (further(version) > further(version - 1))
			return check(link(path, other), "link", other);
		return check(unlink(other), "unlink", other);
	case NAME:
		if (version % 2 == 0)
			return check(unlink(path), "unlink", path);
		path_of(other, at, object, ".new");
		fd = check(open(other, O_CREAT | O_EXCL | O_WRONLY, 0600), "create", other);
		if (fd < 0)
			return fd;
		result = ftruncate(fd, version);
		close(fd);
		return check(result < 0 ? result : rename(other, path), "rename", path);
	case XATTR:
		if (version % 3 == 0)
			return check(removexattr(path, "user.version"), "removexattr", path);
		sprintf(rest, "%u", version);
		return check(setxattr(path, "user.version", rest, strlen(rest), 0), "setxattr", path);
	case SYMLINK:
		sprintf(rest, "version-%u", version);
		path_of(other, at, object, ".new");
		if (check(symlink(rest, other), "symlink", other) < 0)
			return -1;
		return check(rename(other, path), "rename", path);
	case DIRECTORY:
		sprintf(rest, "/%u", further(version) > further(version - 1) ? further(version) : further(version - 1));
		path_of(other, at, object, rest);
		if (further(version) > further(version - 1))
			return check(mkdir(other, 0700), "mkdir", other);
		return check(rmdir(other), "rmdir", other);
	default:
		path_of(other, at, object, ".other");
		return check(renameat2(AT_FDCWD, path, AT_FDCWD, other, RENAME_EXCHANGE), "exchange", path);
	}
}

static void make_first(int object)
{
	char path[256];

	path_of(path, source_at, object, "");
	switch (object / EACH) {
	case NAME:
		return;
	case SYMLINK:
		check(symlink("version-0", path), "symlink", path);
		return;
	case DIRECTORY:
		check(mkdir(path, 0700), "mkdir", path);
		return;
	case EXCHANGE:
		close(check(open(path, O_CREAT | O_WRONLY, 0600), "create", path));
		path_of(path, source_at, object, ".other");
		check(mknod(path, S_IFREG | 0600, 0), "create", path);
		check(truncate(path, 1), "truncate", path);
		return;
	default:
		close(check(open(path, O_CREAT | O_WRONLY, 0600), "create", path));
		if (object / EACH == MTIME) {
			struct timespec times[2] = { { 0, UTIME_OMIT }, { 0, 0 } };

			check(utimensat(AT_FDCWD, path, times, 0), "utimensat", path);
		}
		if (object / EACH == MODE)
			check(chmod(path, 0400), "chmod", path);
	}
}

/* What was seen, and whether a version looks like that. */
struct sight {
	int kind;
	/* errno, or 0 */
	int error;
	unsigned int number;
	/* of a directory: which names it lists; ~0: not looked at */
	unsigned int listed;
};

static int fits(const struct sight *sight, unsigned int version)
{
	switch (sight->kind) {
	case SIZE:
	case MTIME:
	case SYMLINK:
		return !sight->error && sight->number == version;
	case MODE:
		return !sight->error && sight->number == (0400 | (version & 0377));
	case NLINK:
		return !sight->error && sight->number == 1 + further(version);
	case NAME:
		return sight->error ? sight->error == ENOENT && version % 2 == 0 : sight->number == version;
	case XATTR:
		return sight->error ? sight->error == ENODATA && version % 3 == 0 : sight->number == version;
	case DIRECTORY:
		if (sight->error)
			return 0;
		return sight->listed == ~0U ? sight->number == 2 + further(version) : sight->listed == (1U << further(version)) - 1;
	default:
		return !sight->error && sight->number == version % 2;
	}
}

static void look(int object, struct sight *sight)
{
	char path[256], text[64] = "";
	struct stat status;
	int fd, result;

	memset(sight, 0, sizeof(*sight));
	sight->kind = object / EACH;
	sight->listed = ~0U;
	path_of(path, mount_at, object, "");
	if (sight->kind == XATTR) {
		result = getxattr(path, "user.version", text, sizeof(text) - 1);
		sight->error = result < 0 ? errno : 0;
		sight->number = atoi(text);
		return;
	}
	if (sight->kind == SYMLINK) {
		result = readlink(path, text, sizeof(text) - 1);
		sight->error = result < 0 ? errno : 0;
		sight->number = atoi(text + strlen("version-"));
		return;
	}
	if (sight->kind == DIRECTORY && random_below(2)) {
		DIR *directory = opendir(path);
		struct dirent *entry;

		sight->error = directory ? 0 : errno;
		sight->listed = 0;
		while (directory && (entry = readdir(directory)))
			if (entry->d_name[0] != '.')
				sight->listed |= 1U << (atoi(entry->d_name) - 1);
		if (directory)
			closedir(directory);
		return;
	}
	switch (sight->kind == NAME || sight->kind == EXCHANGE ? 0 : random_below(3)) {
	case 0:
		result = lstat(path, &status);
		break;
	case 1:
		fd = open(path, O_PATH);
		result = fd < 0 ? fd : fstat(fd, &status);
		close(fd);
		break;
	default:
		fd = open(path, O_RDONLY);
		result = fd < 0 ? fd : fstat(fd, &status);
		close(fd);
	}
	sight->error = result < 0 ? errno : 0;
	if (sight->error)
		return;
	switch (sight->kind) {
	case MTIME:
		sight->number = status.st_mtime;
		break;
	case MODE:
		sight->number = status.st_mode & 0777;
		break;
	case NLINK:
	case DIRECTORY:
		sight->number = status.st_nlink;
		break;
	default:
		sight->number = status.st_size;
	}
}

/* How long the longest look took, or has been taking, of those that had not ended at that time. */
static unsigned long long longest_look(struct object *object, unsigned long long since, unsigned long long now)
{
	unsigned long long longest = 0;

	for (int i = 0; i < LOOKS; i++) {
		unsigned long long begin = atomic_load(&object->looks[i].begin), end = atomic_load(&object->looks[i].end);

		if (!begin || (end && end < since))
			continue;
		if (!end)
			end = now;
		if (end > begin && end - begin > longest)
			longest = end - begin;
	}
	return longest;
}

/* The oldest version that may still be seen now. */
static unsigned int oldest(struct object *object)
{
	unsigned int version = atomic_load(&object->done), passed;
	unsigned long long now;

	if (!behind) {
		/* and nobody sees less than others have */
		unsigned int seen = atomic_load(&object->seen);

		return seen > version ? seen : version;
	}
	now = nanoseconds(CLOCK_MONOTONIC_COARSE);
	for (passed = 0; version > 0 && passed < REMEMBERED / 2; version--, passed++) {
		unsigned long long when = atomic_load(&object->when[version % REMEMBERED]);

		if (when + bound <= now && when + bound + longest_look(object, when, now) <= now)
			return version;
	}
	return 0;
}

/*
 * Which kinds may be changed from both sides? A rename, an unlink or an append through the mount acts on what the kernel
 * has cached of it, which may be out of date by then: that is so on any FUSE mount.
 */
static int mixes(int kind)
{
	return kind == MTIME || kind == MODE || kind == XATTR;
}

static void write_once(int number)
{
	struct object *object = &shared->objects[number];
	int at_source = behind && (!mixes(number / EACH) || random_below(100) < behind), idle = 0;
	unsigned int version;

	if (!atomic_compare_exchange_strong(&object->busy, &idle, 1))
		return;
	version = atomic_load(&object->done) + 1;
	atomic_store(&object->started, version);
	make(number, version, at_source ? source_at : mount_at);
	atomic_store(&object->when[version % REMEMBERED], at_source ? nanoseconds(CLOCK_MONOTONIC) : 0);
	atomic_store(&object->done, version);
	atomic_store(&object->busy, 0);
	atomic_fetch_add(&shared->writes[number / EACH], 1);
}

static void read_once(int number)
{
	struct object *object = &shared->objects[number];
	unsigned int from, to, version, seen;
	unsigned long long begin, took;
	struct sight sight;
	struct look *look_at;

	look_at = &object->looks[atomic_fetch_add(&object->looked, 1) % LOOKS];
	/*
	 * An inode that has gone behind the mount's back is ESTALE. Then the VFS looks the name up anew, once: if the next one
	 * goes as well meanwhile, its caller is told.
	 */
	do {
		from = oldest(object);
		version = atomic_load(&object->done);
		begin = nanoseconds(CLOCK_MONOTONIC);
		atomic_store(&look_at->end, 0);
		atomic_store(&look_at->begin, begin);
		look(number, &sight);
		atomic_store(&look_at->end, nanoseconds(CLOCK_MONOTONIC));
	} while (behind && sight.error == ESTALE && atomic_load(&object->started) != version);
	took = atomic_load(&look_at->end) - begin;
	for (unsigned long long longest = atomic_load(&shared->longest); longest < took;)
		if (atomic_compare_exchange_weak(&shared->longest, &longest, took))
			break;
	to = atomic_load(&object->started);
	atomic_fetch_add(&shared->reads[number / EACH], 1);
	for (version = from; version <= to; version++) {
		if (!fits(&sight, version))
			continue;
		/* several versions may look like this: the oldest is the one that is sure */
		seen = atomic_load(&object->seen);
		while (seen < version && !atomic_compare_exchange_weak(&object->seen, &seen, version))
			;
		return;
	}
	wrong("%s %d, process %d: saw %s %u listed %x, versions %u to %u are allowed", kinds[number / EACH], number % EACH,
	      me, sight.error ? strerror(sight.error) : "", sight.number, sight.listed, from, to);
}

int main(int argc, char **argv)
{
	int processes = argc == 8 ? atoi(argv[3]) : 0, number, kind, status, failed = 0;
	unsigned long operations = argc == 8 ? strtoul(argv[4], NULL, 10) : 0;
	unsigned long total = 0;
	char path[256];

	if (processes < 1 || operations < 1)
		return 2;
	mount_at = argv[1];
	source_at = argv[2];
	behind = atoi(argv[6]);
	bound = strtoull(argv[7], NULL, 10) * 1000000;
	umask(0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (number = 0; number < 3; number++) {
		sprintf(path, "%s/d%d", source_at, number);
		check(mkdir(path, 0755), "mkdir", path);
	}
	for (number = 0; number < OBJECTS; number++)
		make_first(number);
	for (me = 0; me < processes; me++) {
		if (fork())
			continue;
		random_state = strtoull(argv[5], NULL, 10) * 1000003 + me * 7919 + 1;
		for (unsigned long i = 0; i < operations / processes && atomic_load(&shared->wrong) < 10; i++) {
			number = random_below(OBJECTS);
			if (random_below(4))
				read_once(number);
			else
				write_once(number);
		}
		_exit(0);
	}
	while (wait(&status) > 0)
		failed |= status;
	for (kind = 0; kind < KINDS; kind++) {
		printf("%s: %u reads, %u writes\n", kinds[kind], shared->reads[kind], shared->writes[kind]);
		total += shared->reads[kind] + shared->writes[kind];
	}
	printf("total %lu operations, the longest look took %llu ms, %u wrong\n", total,
	       (unsigned long long)shared->longest / 1000000, shared->wrong);
	return shared->wrong || failed ? 1 : 0;
}
