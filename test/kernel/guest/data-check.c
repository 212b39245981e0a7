// SPDX-License-Identifier: GPL-2.0-only
/*
 * data-check MOUNT SOURCE PROCESSES OPERATIONS SEED: random reads and writes of files through a mount, compared with what
 * must be there. Each process has files of its own, which it uses through descriptors of all kinds (buffered, O_DIRECT,
 * O_APPEND), mappings, and the source behind the mount, and remembers byte for byte. All of them share one file of
 * records, each with one writer, who tells what he has written once it is: no reader may find anything older than what
 * was told before his read began.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST (160 << 10)
#define ROOM (MOST + (64 << 10))
#define RECORD 4096
#define MOST_PROCESSES 16

static unsigned long long state;
static int process;
static const char *doing = "";

static unsigned int below(unsigned int limit)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (state >> 33) % limit;
}

static void fail(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	printf("process %d, %s: ", process, doing);
	vprintf(format, list);
	printf("\n");
	fflush(stdout);
	va_end(list);
	_exit(1);
}

#define MUST(x) ({ long must = (x); if (must < 0) fail("%s: %s", #x, strerror(errno)); must; })

static char path[2][PATH_MAX];
/* mount: buffered, O_DIRECT, O_APPEND; source: buffered */
static int fd[4];
static unsigned char *expected, *buffer;
static size_t size;

static void open_file(void)
{
	static const int flags[] = { O_RDWR, O_RDWR | O_DIRECT, O_RDWR | O_APPEND, O_RDWR };
	int i;

	for (i = 0; i < 4; i++) {
		if (fd[i] > 0)
			close(fd[i]);
		fd[i] = MUST(open(path[i == 3], flags[i] | O_CREAT, 0644));
	}
}

static void compare(size_t offset, size_t length, ssize_t got, int by_block)
{
	size_t want = offset >= size ? 0 : size - offset < length ? size - offset : length, i;

	if (got < 0)
		fail("%s", strerror(errno));
	if ((size_t)got != want)
		fail("%zd bytes at %zu of %zu, and not %zu", got, offset, size, want);
	for (i = 0; i < want; i++) {
		if (buffer[i] != expected[offset + i])
			fail("byte %zu of %zu at %zu+%zu is %02x, and not %02x", offset + i, size, offset, length,
			     buffer[i], expected[offset + i]);
	}
	/* what was not read is as it was; direct I/O of disk file systems reads whole blocks */
	for (i = want; i < length && !by_block; i++) {
		if (buffer[i] != 0xa5)
			fail("byte %zu behind the end was written: %02x", offset + i, buffer[i]);
	}
}

static void grow(size_t end)
{
	if (end > size) {
		/* what is between them is a hole */
		size = end;
	}
}

static size_t length_below(size_t most)
{
	static const size_t usual[] = { 1, 100, 512, 4096, 4097, 8192, 16384, 32768, 65536 };
	size_t length = usual[below(9)];

	if (!below(3))
		length = 1 + below(most);
	return length < most ? length : most;
}

static void change(unsigned char *where, size_t length)
{
	unsigned char value = below(256);
	size_t i;

	for (i = 0; i < length; i++)
		where[i] = value + i * 7 + (i >> 8);
}

static void operation(void)
{
	size_t offset = below(4) ? below(MOST) : below(MOST / 4096) * 4096, length = length_below(MOST), i;
	int which = below(3);
	struct stat status;
	unsigned char *map;

	if (offset + length > MOST)
		length = MOST - offset;
	if (!length)
		return;
	switch (below(20)) {
	case 0: case 1: case 2: case 3: case 4: case 5: case 6:
		doing = "pread";
		if (which == 1) {
			offset &= ~511UL;
			length = (length + 511) & ~511UL;
		}
		memset(buffer, 0xa5, length);
		compare(offset, length, pread(fd[which], buffer, length, offset), which == 1);
		break;
	case 7: case 8: case 9: case 10:
		doing = "pwrite";
		which = below(2);
		if (which == 1) {
			offset &= ~511UL;
			length = (length + 511) & ~511UL;
		}
		change(buffer, length);
		if (MUST(pwrite(fd[which], buffer, length, offset)) != (ssize_t)length)
			fail("short");
		memcpy(expected + offset, buffer, length);
		grow(offset + length);
		break;
	case 11:
		doing = "append";
		if (size + length > MOST)
			break;
		change(buffer, length);
		if (MUST(write(fd[2], buffer, length)) != (ssize_t)length)
			fail("short");
		memcpy(expected + size, buffer, length);
		grow(size + length);
		break;
	case 12:
		doing = "ftruncate";
		MUST(ftruncate(fd[below(3)], offset));
		if (offset < size)
			memset(expected + offset, 0, size - offset);
		size = offset;
		break;
	case 13:
		doing = "punch";
		MUST(fallocate(fd[0], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length));
		if (offset < size)
			memset(expected + offset, 0, size - offset < length ? size - offset : length);
		break;
	case 14:
	case 15:
		if (!size)
			break;
		doing = "mmap";
		map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd[0], 0);
		if (map == MAP_FAILED)
			fail("%s", strerror(errno));
		offset = below(size);
		if (length > size - offset)
			length = size - offset;
		for (i = 0; i < length; i++) {
			if (map[offset + i] != expected[offset + i])
				fail("byte %zu of %zu is %02x, and not %02x", offset + i, size, map[offset + i],
				     expected[offset + i]);
		}
		change(map + offset, length);
		memcpy(expected + offset, map + offset, length);
		if (below(2)) {
			doing = "pread while mapped";
			memset(buffer, 0xa5, length);
			compare(offset, length, pread(fd[which & 2], buffer, length, offset), 0);
		}
		munmap(map, size);
		break;
	case 16:
		doing = "pwrite behind";
		change(buffer, length);
		if (MUST(pwrite(fd[3], buffer, length, offset)) != (ssize_t)length)
			fail("short");
		memcpy(expected + offset, buffer, length);
		/* the kernel learns of another size with the attributes: not here */
		if (offset + length > size) {
			size = offset + length;
			MUST(stat(path[0], &status));
		}
		break;
	case 17:
		doing = "pread behind";
		memset(buffer, 0xa5, length);
		compare(offset, length, pread(fd[3], buffer, length, offset), 0);
		break;
	case 18:
		doing = "size";
		MUST(fstat(fd[which], &status));
		if ((size_t)status.st_size != size)
			fail("%zu, and not %zu", (size_t)status.st_size, size);
		break;
	case 19:
		doing = "open";
		if (!below(8))
			open_file();
		break;
	}
}

static volatile unsigned long long *told;

/* Of the shared file: writes the own record, reads another's. */
static void share(int descriptor, int behind, int processes)
{
	unsigned long long *words = (unsigned long long *)buffer, before;
	int other = below(processes);
	size_t i;

	doing = "record";
	if (!below(3)) {
		unsigned long long next = told[process] + 1;

		for (i = 0; i < RECORD / 8; i++)
			words[i] = next;
		if (MUST(pwrite(below(4) ? descriptor : behind, buffer, RECORD, process * RECORD)) != RECORD)
			fail("short");
		__atomic_store_n(&told[process], next, __ATOMIC_SEQ_CST);
		return;
	}
	before = __atomic_load_n(&told[other], __ATOMIC_SEQ_CST);
	if (MUST(pread(descriptor, buffer, RECORD, other * RECORD)) != RECORD)
		fail("short read of record %d", other);
	for (i = 0; i < RECORD / 8; i++) {
		if (words[i] < before)
			fail("record %d, word %zu: %llu after %llu", other, i, words[i], before);
	}
}

static void run(const char *mount, const char *source, int processes, long operations)
{
	char name[PATH_MAX];
	int shared, behind;
	long i;

	expected = calloc(1, ROOM);
	if (posix_memalign((void **)&buffer, 4096, ROOM))
		fail("no memory");
	snprintf(name, sizeof(name), "%s/shared", mount);
	shared = MUST(open(name, O_RDWR));
	snprintf(name, sizeof(name), "%s/shared", source);
	behind = MUST(open(name, O_RDWR));
	snprintf(path[0], PATH_MAX, "%s/file%d", mount, process);
	snprintf(path[1], PATH_MAX, "%s/file%d", source, process);
	open_file();
	for (i = 0; i < operations; i++) {
		if (below(2))
			operation();
		else
			share(shared, behind, processes);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	int processes = argc == 6 ? atoi(argv[3]) : 0, status, failed = 0;
	char name[PATH_MAX];

	if (processes < 1 || processes > MOST_PROCESSES) {
		fprintf(stderr, "data-check MOUNT SOURCE PROCESSES OPERATIONS SEED\n");
		return 2;
	}
	told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	snprintf(name, sizeof(name), "%s/shared", argv[1]);
	MUST(ftruncate(MUST(open(name, O_RDWR | O_CREAT, 0644)), processes * RECORD));
	for (process = 0; process < processes; process++) {
		if (fork() == 0) {
			state = atoll(argv[5]) * 1000003 + process;
			run(argv[1], argv[2], processes, atol(argv[4]));
		}
	}
	while (wait(&status) > 0)
		failed |= status;
	printf("%s\n", failed ? "failed" : "passed");
	return failed ? 1 : 0;
}
