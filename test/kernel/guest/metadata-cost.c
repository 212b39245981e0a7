// SPDX-License-Identifier: MIT
/*
 * metadata-cost FOLDER [CREATIONS]: what a call costs there, the median of many in nanoseconds: one JSON object. FOLDER must
 * have a file `file`. CREATIONS (51) files are made and removed; the second half counts, as a server in JavaScript gets
 * faster for thousands of them. In instruction-time (lab/run --icount) these are instructions.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TIMES 401
#define MOST 20000

static char file[512], absent[512], made[512], value[64];
static int opened;
static struct stat status;

static void nothing(void) { syscall(SYS_getppid); }
static void getattr(void) { fstat(opened, &status); }
static void path_stat(void) { lstat(file, &status); }
static void absent_stat(void) { lstat(absent, &status); }
static void open_close(void) { close(open(file, O_RDONLY)); }
static void xattr(void) { lgetxattr(file, "user.absent", value, sizeof(value)); }
static void create_unlink(void) { close(open(made, O_CREAT | O_EXCL | O_WRONLY, 0600)); unlink(made); }

static int compare(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;

	return (x > y) - (x < y);
}

/* The median of `times` calls, after others. */
static long long median(void (*call)(void), int before, int times)
{
	static long long taken[MOST];
	struct timespec begin, end;

	for (int i = 0; i < before; i++)
		call();
	for (int i = 0; i < times; i++) {
		clock_gettime(CLOCK_MONOTONIC, &begin);
		call();
		clock_gettime(CLOCK_MONOTONIC, &end);
		taken[i] = (end.tv_sec - begin.tv_sec) * 1000000000LL + end.tv_nsec - begin.tv_nsec;
	}
	qsort(taken, times, sizeof(taken[0]), compare);
	return taken[times / 2];
}

int main(int argc, char **argv)
{
	const char *at = argc > 1 ? argv[1] : ".";
	int creations = argc > 2 ? atoi(argv[2]) : 51;

	snprintf(file, sizeof(file), "%s/file", at);
	snprintf(absent, sizeof(absent), "%s/absent", at);
	snprintf(made, sizeof(made), "%s/made", at);
	opened = open(file, O_RDONLY);
	if (opened < 0 || creations < 1 || creations > MOST)
		return 1;
	printf("{\"nothing\": %lld, ", median(nothing, 0, TIMES));
	printf("\"getattr\": %lld, ", median(getattr, 0, TIMES));
	printf("\"stat\": %lld, ", median(path_stat, 0, TIMES));
	printf("\"absent\": %lld, ", median(absent_stat, 0, TIMES));
	printf("\"xattr\": %lld, ", median(xattr, 0, TIMES));
	printf("\"openClose\": %lld, ", median(open_close, 0, TIMES));
	printf("\"createUnlink\": %lld}\n", median(create_unlink, creations / 2, creations - creations / 2));
	return 0;
}
