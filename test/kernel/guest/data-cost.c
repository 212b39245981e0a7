// SPDX-License-Identifier: MIT
/*
 * data-cost FILE LOAD TIMES [direct]: what reads and writes of a file of 4 MiB cost, in nanoseconds, median and 99th
 * percentile of TIMES, as JSON. In instruction-time (lab/run --icount) these are instructions. LOAD is
 *
 *	read SIZE, write SIZE, mixed SIZE	at random places, aligned to SIZE; mixed: of ten, three are writes
 *
 * As many are made before, which don't count: servers compile, schedulers learn.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FILE_SIZE (4 << 20)
#define MOST 20001

static unsigned long long state = 1;

static unsigned int below(unsigned int limit)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (state >> 33) % limit;
}

static int compare(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	static long long taken[MOST];
	struct timespec begin, end;
	long long sum = 0;
	size_t size;
	char *buffer;
	int fd, times, i;

	if (argc < 5 || (times = atoi(argv[4])) < 1 || times > MOST)
		return 2;
	size = atoi(argv[3]);
	fd = open(argv[1], O_RDWR | (argc > 5 ? O_DIRECT : 0));
	if (fd < 0 || posix_memalign((void **)&buffer, 4096, size))
		return 1;
	memset(buffer, 1, size);
	for (i = -times; i < times; i++) {
		off_t offset = (off_t)below(FILE_SIZE / size) * size;
		int writes = argv[2][0] == 'w' || (argv[2][0] == 'm' && below(10) < 3);
		ssize_t done;

		clock_gettime(CLOCK_MONOTONIC, &begin);
		done = writes ? pwrite(fd, buffer, size, offset) : pread(fd, buffer, size, offset);
		clock_gettime(CLOCK_MONOTONIC, &end);
		if (done != (ssize_t)size)
			return 1;
		if (i < 0)
			continue;
		taken[i] = (end.tv_sec - begin.tv_sec) * 1000000000LL + end.tv_nsec - begin.tv_nsec;
		sum += taken[i];
	}
	qsort(taken, times, sizeof(taken[0]), compare);
	printf("{\"p50\": %lld, \"p99\": %lld, \"mean\": %lld}\n", taken[times / 2], taken[times * 99 / 100], sum / times);
	return 0;
}
