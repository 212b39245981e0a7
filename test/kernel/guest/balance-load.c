// SPDX-License-Identifier: MIT
/*
 * balance-load FILE DEPTH COUNT: so many direct reads of 4 KiB, DEPTH of them under way at a time, by asynchronous I/O
 * (io_submit(2)): FUSE sends them in the background. Prints how many it has read.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCK 4096
#define MOST 256

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	int depth = argc > 3 ? atoi(argv[2]) : 0, count = argc > 3 ? atoi(argv[3]) : 0, fd, i, got, sent = 0, done = 0;
	static struct iocb blocks[MOST];
	struct io_event events[MOST];
	aio_context_t context = 0;
	struct stat status;
	char *memory;

	if (depth < 1 || depth > MOST || count < depth)
		return fprintf(stderr, "balance-load FILE DEPTH COUNT\n"), 2;
	fd = open(argv[1], O_RDONLY | O_DIRECT);
	if (fd < 0 || fstat(fd, &status))
		return fail(argv[1]);
	if (posix_memalign((void **)&memory, BLOCK, (size_t)BLOCK * depth))
		return fail("memory");
	if (syscall(SYS_io_setup, depth, &context))
		return fail("io_setup");
	for (i = 0; i < depth; i++)
		blocks[i] = (struct iocb){
			.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = fd, .aio_nbytes = BLOCK,
			.aio_buf = (unsigned long)(memory + (size_t)i * BLOCK), .aio_data = i,
		};
	for (i = 0; i < depth; i++, sent++) {
		struct iocb *one = &blocks[i];

		one->aio_offset = (long)sent * BLOCK % (status.st_size - BLOCK) / BLOCK * BLOCK;
		if (syscall(SYS_io_submit, context, 1, &one) != 1)
			return fail("io_submit");
	}
	while (done < count) {
		got = syscall(SYS_io_getevents, context, 1, MOST, events, NULL);
		if (got < 0)
			return fail("io_getevents");
		for (i = 0; i < got; i++) {
			struct iocb *one = &blocks[events[i].data];

			if (events[i].res != BLOCK)
				return fprintf(stderr, "%lld bytes\n", (long long)events[i].res), 1;
			done++;
			if (sent == count)
				continue;
			one->aio_offset = (long)sent++ * BLOCK % (status.st_size - BLOCK) / BLOCK * BLOCK;
			if (syscall(SYS_io_submit, context, 1, &one) != 1)
				return fail("io_submit");
		}
	}
	printf("%d\n", done);
	return 0;
}
