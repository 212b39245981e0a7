// SPDX-License-Identifier: MIT
/*
 * data-phases FILE HOT REQUESTS PHASES CHUNK: reads 4 KiB at a time: REQUESTS of them at random places of FILE's first HOT
 * blocks, then as many of the rest, each of whose blocks is read once at most, and so on. After each CHUNK it prints the
 * phase, and the mean and the median of what reads have cost, in nanoseconds, and waits for a line on its standard input.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define MOST 20000

static int compare(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	static char buffer[BLOCK] __attribute__((aligned(BLOCK))) = { 1 };
	unsigned long long state = 1, hot, blocks, cold = 0;
	static long long taken[MOST];
	int fd, requests, phases, chunk, i;
	struct stat stat;

	if (argc != 6)
		return 2;
	fd = open(argv[1], O_RDONLY);
	hot = atoi(argv[2]);
	if (fd < 0 || fstat(fd, &stat))
		return 1;
	blocks = stat.st_size / BLOCK - hot;
	requests = atoi(argv[3]);
	phases = atoi(argv[4]);
	chunk = atoi(argv[5]);
	if (chunk < 1 || chunk > MOST)
		return 2;
	for (int phase = 0; phase < phases; phase++) {
		int is_cold = phase & 1;

		for (int done = 0; done < requests; done += chunk) {
			long long sum = 0;

			for (i = 0; i < chunk; i++) {
				struct timespec begin, end;
				unsigned long long block;

				state = state * 6364136223846793005ULL + 1442695040888963407ULL;
				/* a prime apart: none comes twice, none is next to the last */
				block = is_cold ? hot + cold++ * 7919 % blocks : (state >> 33) % hot;
				clock_gettime(CLOCK_MONOTONIC, &begin);
				if (pread(fd, buffer, BLOCK, block * BLOCK) != BLOCK)
					return 1;
				clock_gettime(CLOCK_MONOTONIC, &end);
				taken[i] = (end.tv_sec - begin.tv_sec) * 1000000000LL + end.tv_nsec - begin.tv_nsec;
				sum += taken[i];
			}
			qsort(taken, chunk, sizeof(taken[0]), compare);
			printf("%s %lld %lld\n", is_cold ? "cold" : "hot", sum / chunk, taken[chunk / 2]);
			fflush(stdout);
			if (getchar() == EOF)
				return 1;
		}
	}
	return 0;
}
