// SPDX-License-Identifier: MIT
/*
 * data-leak MOUNT ROUNDS: whether reads ever show what does not belong to their file. First a file of one byte value, POISON,
 * is read until it fills whatever keeps blocks. Then one process truncates, extends and rewrites a file that has never held
 * anything but DATA, while others read it, at and beyond its end. They may find DATA and zeros, and no byte of their memory
 * may change beyond what they were told to have read.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define POISON 0xee
#define DATA 'A'
#define UNTOUCHED 0x5a
#define POISONED (4 << 20)
#define MOST (48 << 10)
#define READERS 3

static unsigned long long state;

static unsigned int below(unsigned int limit)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (state >> 33) % limit;
}

static void die(const char *what, long a, long b)
{
	printf("%s: %ld, %ld\n", what, a, b);
	exit(1);
}

static void poison(int fd, unsigned char *buffer)
{
	for (long at = 0; at < POISONED; at += 16384) {
		if (pread(fd, buffer, 16384, at) != 16384)
			die("the poison can't be read", at, 0);
		for (int i = 0; i < 16384; i++)
			if (buffer[i] != POISON)
				die("not poison", at + i, buffer[i]);
	}
}

int main(int argc, char **argv)
{
	unsigned char *buffer = malloc(4 * MOST), *poisoned = malloc(POISONED);
	volatile int *stop = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int rounds = argc == 3 ? atoi(argv[2]) : 0, fd, poison_fd, status, failed = 0;
	char name[PATH_MAX];
	long reads = 0, got;

	if (rounds < 1)
		return 2;
	snprintf(name, sizeof(name), "%s/poison", argv[1]);
	poison_fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);
	memset(poisoned, POISON, POISONED);
	if (poison_fd < 0 || write(poison_fd, poisoned, POISONED) != POISONED)
		die("no poison", poison_fd, 0);
	poison(poison_fd, buffer);
	poison(poison_fd, buffer);
	snprintf(name, sizeof(name), "%s/data", argv[1]);
	fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (fd < 0)
		die("no file", fd, 0);

	for (int reader = 0; reader < READERS; reader++) {
		if (fork())
			continue;
		state = 100 + reader;
		while (!*stop || reads < 100) {
			unsigned int size = 1 + below(MOST), at = below(MOST + 8192);

			memset(buffer, UNTOUCHED, MOST + 4096);
			got = pread(fd, buffer, size, at);
			if (got < 0 || got > size || (got && at + got > MOST))
				die("a read of more than there ever was", at, got);
			for (long i = 0; i < got; i++)
				if (buffer[i] != DATA && buffer[i] != 0)
					die("a byte of another", at + i, buffer[i]);
			for (long i = got; i < MOST + 4096; i++)
				if (buffer[i] != UNTOUCHED)
					die("memory beyond the answer has changed", i - got, buffer[i]);
			if (++reads % 200 == 0)
				poison(poison_fd, buffer);
		}
		exit(0);
	}
	state = 1;
	memset(buffer, DATA, MOST);
	for (int round = 0; round < rounds; round++) {
		unsigned int size = 1 + below(MOST), at = below(MOST - size + 1);

		if (below(3) == 0 && ftruncate(fd, below(2) ? 0 : below(MOST)))
			die("truncate", round, 0);
		if (below(2) && pwrite(fd, buffer, size, at) != (long)size)
			die("write", round, 0);
		/* Beyond the end there is nothing, whoever has read it before. */
		if (below(4) == 0) {
			unsigned int end = below(MOST);

			if (ftruncate(fd, end))
				die("truncate", round, 0);
			got = pread(fd, buffer + MOST, 4096, end);
			if (got != 0)
				die("read beyond the end", end, got);
		}
	}
	*stop = 1;
	while (wait(&status) > 0)
		failed |= status;
	printf("%s\n", failed ? "failed" : "passed");
	return failed ? 1 : 0;
}
