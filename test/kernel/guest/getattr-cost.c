// SPDX-License-Identifier: MIT
/*
 * getattr-cost TYPE MOUNTPOINT: what a GETATTR round trip costs on a mount of type fuse or efuse, whose server is this
 * program: the median of fstat(2) in nanoseconds. On efuse it prints a token first and waits for a line on its input,
 * so that programs can be attached.
 *
 * Client and server take turns under SCHED_FIFO. Under the ordinary policy a wake-up may or may not make the scheduler
 * change its mind, which is one eighth of a round trip, and what is measured here is a thirtieth.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "../../../kernel/src/efuse_uapi.h"

#define CALLS 4001

static int device;
static char request[FUSE_MIN_READ_BUFFER + 4096];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void reply(unsigned long long unique, int error, void *data, size_t size)
{
	struct fuse_out_header header = { .len = sizeof(header) + size, .error = error, .unique = unique };
	struct iovec parts[] = { { &header, sizeof(header) }, { data, size } };

	if (writev(device, parts, size ? 2 : 1) < 0 && errno != ENOENT)
		die("reply");
}

/* Serves one request. Returns 0 once the mount is gone. */
static int serve(void)
{
	struct fuse_in_header *in = (void *)request;
	struct fuse_attr_out attr = { .attr = { .ino = 1, .mode = S_IFDIR | 0755, .nlink = 2 } };
	struct fuse_init_out init = { .major = FUSE_KERNEL_VERSION, .minor = 31, .max_write = 4096 };

	if (read(device, request, sizeof(request)) < 0) {
		if (errno == ENODEV)
			return 0;
		die("request");
	}
	switch (in->opcode) {
	case FUSE_INIT:
		reply(in->unique, 0, &init, sizeof(init));
		break;
	case FUSE_GETATTR:
		reply(in->unique, 0, &attr, sizeof(attr));
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		break;
	default:
		reply(in->unique, -ENOSYS, NULL, 0);
	}
	return 1;
}

static int compare(const void *a, const void *b)
{
	return *(const long *)a < *(const long *)b ? -1 : *(const long *)a > *(const long *)b;
}

static void measure(const char *mountpoint)
{
	static long times[CALLS];
	struct timespec begin, end;
	struct stat status;
	int fd = open(mountpoint, O_PATH);

	for (int i = 0; i < CALLS; i++) {
		clock_gettime(CLOCK_MONOTONIC, &begin);
		if (fstat(fd, &status))
			die("fstat");
		clock_gettime(CLOCK_MONOTONIC, &end);
		times[i] = (end.tv_sec - begin.tv_sec) * 1000000000L + end.tv_nsec - begin.tv_nsec;
	}
	qsort(times, CALLS, sizeof(*times), compare);
	printf("%ld\n", times[CALLS / 2]);
	fflush(stdout);
	close(fd);
}

int main(int argc, char **argv)
{
	const char *type = argv[1], *mountpoint = argv[2];
	char options[100], path[32], line[16];
	struct sched_param priority = { .sched_priority = 1 };
	__u64 token;

	if (argc != 3)
		return 2;
	snprintf(path, sizeof(path), "/dev/%s", type);
	device = open(path, O_RDWR | O_CLOEXEC);
	if (device < 0)
		die(path);
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", device);
	if (mount("cost", mountpoint, type, 0, options))
		die("mount");
	serve();
	if (!strcmp(type, "efuse")) {
		if (ioctl(device, EFUSE_IOC_TOKEN, &token))
			die("token");
		printf("%llu\n", (unsigned long long)token);
		fflush(stdout);
		if (!fgets(line, sizeof(line), stdin))
			return 1;
	}
	if (sched_setscheduler(0, SCHED_FIFO, &priority))
		die("SCHED_FIFO");
	if (fork() == 0) {
		measure(mountpoint);
		umount2(mountpoint, MNT_DETACH);
		return 0;
	}
	while (serve())
		;
	wait(NULL);
	return 0;
}
