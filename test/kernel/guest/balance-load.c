// SPDX-License-Identifier: MIT
/*
 * Direct reads of 4 KiB. Prints how many there were, how long all took, and the processor time of this process: nanoseconds.
 *
 * balance-load FILE COUNT DEPTH: DEPTH of them under way at a time, by asynchronous I/O (io_submit(2)): FUSE sends them in
 * the background.
 *
 * balance-load FILE COUNT 0 THINK: one after another, each awaited, with 0 to 2 * THINK nanoseconds between an answer and the
 * next read. COUNT 0: until SIGTERM.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define MOST 256

static volatile sig_atomic_t ended;

static void end(int number)
{
	(void)number;
	ended = 1;
}

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static long long ns(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static int one_by_one(int fd, off_t size, char *memory, int count, unsigned int think)
{
	unsigned int seed = getpid();
	int done = 0;

	/* a sleep is as long as it is asked for */
	prctl(PR_SET_TIMERSLACK, 1);
	signal(SIGTERM, end);
	while (!ended && (!count || done < count)) {
		struct timespec pause = { 0, (long)(2.0 * think * rand_r(&seed) / RAND_MAX) };

		if (think)
			nanosleep(&pause, NULL);
		if (pread(fd, memory, BLOCK, (off_t)done * BLOCK % (size - BLOCK) / BLOCK * BLOCK) != BLOCK)
			return fail("pread"), -1;
		done++;
	}
	return done;
}

static int deep(int fd, off_t size, char *memory, int count, int depth)
{
	static struct iocb blocks[MOST];
	struct io_event events[MOST];
	aio_context_t context = 0;
	int sent = 0, done = 0, got, i;

	if (syscall(SYS_io_setup, depth, &context))
		return fail("io_setup"), -1;
	for (i = 0; i < depth; i++)
		blocks[i] = (struct iocb){
			.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd, .aio_nbytes = BLOCK,
			.aio_buf = (unsigned long)(memory + (size_t)i * BLOCK), .aio_data = i,
		};
	for (i = 0; i < depth; i++, sent++) {
		struct iocb *one = &blocks[i];

		one->aio_offset = (long)sent * BLOCK % (size - BLOCK) / BLOCK * BLOCK;
		if (syscall(SYS_io_submit, context, 1, &one) != 1)
			return fail("io_submit"), -1;
	}
	while (done < count) {
		got = syscall(SYS_io_getevents, context, 1, MOST, events, NULL);
		if (got < 0)
			return fail("io_getevents"), -1;
		for (i = 0; i < got; i++) {
			struct iocb *one = &blocks[events[i].data];

			if (events[i].res != BLOCK)
				return fprintf(stderr, "%lld bytes\n", (long long)events[i].res), -1;
			done++;
			if (sent == count)
				continue;
			one->aio_offset = (long)sent++ * BLOCK % (size - BLOCK) / BLOCK * BLOCK;
			if (syscall(SYS_io_submit, context, 1, &one) != 1)
				return fail("io_submit"), -1;
		}
	}
	return done;
}

int main(int argc, char **argv)
{
	int count = argc > 3 ? atoi(argv[2]) : 0, depth = argc > 3 ? atoi(argv[3]) : -1, fd, done;
	long long began, own;
	struct stat status;
	char *memory;

	if (depth < 0 || depth > MOST || (depth && count < depth))
		return fprintf(stderr, "balance-load FILE COUNT DEPTH [THINK]\n"), 2;
	fd = open(argv[1], O_RDONLY | O_DIRECT);
	if (fd < 0 || fstat(fd, &status))
		return fail(argv[1]);
	if (posix_memalign((void **)&memory, BLOCK, (size_t)BLOCK * (depth + 1)))
		return fail("memory");
	began = ns(CLOCK_MONOTONIC);
	own = ns(CLOCK_PROCESS_CPUTIME_ID);
	done = depth ? deep(fd, status.st_size, memory, count, depth)
		     : one_by_one(fd, status.st_size, memory, count, argc > 4 ? atoi(argv[4]) : 0);
	if (done < 0)
		return 1;
	printf("%d %lld %lld\n", done, ns(CLOCK_MONOTONIC) - began, ns(CLOCK_PROCESS_CPUTIME_ID) - own);
	return 0;
}
