// SPDX-License-Identifier: MIT
/*
 * data-cost FILE LOAD SIZE TIMES FILES BYTES [direct]: what reads and writes of files cost, in nanoseconds, median and 99th
 * percentile of TIMES, and their mean, as JSON; also of the reads and of the writes among them. In instruction-time (lab/run
 * --icount) these are instructions. There are FILES files of BYTES bytes, FILE0, FILE1 and so on, which are opened once. LOAD
 * is
 *
 *	read, write, mixed	at random places of any of them, aligned to SIZE; mixed: of ten, three are writes
 *	first			reads, each block once: nothing is counted that was read before
 *
 * As many are made before, which don't count: servers compile, schedulers learn. But for `first`.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MOST 20001
#define MOST_FILES 512

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

static void report(const char *name, long long *taken, int times)
{
	long long sum = 0;

	if (!times)
		return;
	qsort(taken, times, sizeof(taken[0]), compare);
	for (int i = 0; i < times; i++)
		sum += taken[i];
	printf("%s\"p50\": %lld, \"p99\": %lld, \"mean\": %lld", name, taken[times / 2], taken[times * 99 / 100], sum / times);
}

int main(int argc, char **argv)
{
	static long long all[MOST], taken[2][MOST];
	static int fds[MOST_FILES];
	int counted[2] = {}, files, times, i, first;
	struct timespec begin, end;
	size_t size, bytes, places;
	char *buffer, name[4096];

	if (argc < 7 || (times = atoi(argv[4])) < 1 || times > MOST || (files = atoi(argv[5])) < 1 || files > MOST_FILES)
		return 2;
	size = atoi(argv[3]);
	bytes = atoll(argv[6]);
	places = bytes / size;
	first = argv[2][0] == 'f';
	if (!places || (first && times > (int)places * files))
		return 2;
	for (i = 0; i < files; i++) {
		snprintf(name, sizeof(name), "%s%d", argv[1], i);
		fds[i] = open(name, O_RDWR | (argc > 7 ? O_DIRECT : 0));
		if (fds[i] < 0)
			return 1;
	}
	if (posix_memalign((void **)&buffer, 4096, size))
		return 1;
	memset(buffer, 1, size);
	for (i = first ? 0 : -times; i < times; i++) {
		/* a prime apart: neither twice nor in order */
		off_t offset = (first ? (unsigned long long)i / files * 7919 % places : below(places)) * size;
		int writes = argv[2][0] == 'w' || (argv[2][0] == 'm' && below(10) < 3);
		int fd = fds[first ? (unsigned int)(i % files) : below(files)];
		ssize_t done;

		clock_gettime(CLOCK_MONOTONIC, &begin);
		done = writes ? pwrite(fd, buffer, size, offset) : pread(fd, buffer, size, offset);
		clock_gettime(CLOCK_MONOTONIC, &end);
		if (done != (ssize_t)size)
			return 1;
		if (i < 0)
			continue;
		all[i] = (end.tv_sec - begin.tv_sec) * 1000000000LL + end.tv_nsec - begin.tv_nsec;
		taken[writes][counted[writes]++] = all[i];
	}
	report("{", all, times);
	if (counted[0] && counted[1]) {
		report(", \"reads\": {", taken[0], counted[0]);
		report("}, \"writes\": {", taken[1], counted[1]);
		printf("}");
	}
	printf("}\n");
	return 0;
}
