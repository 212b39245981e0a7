// SPDX-License-Identifier: MIT
/*
 * metadata-times FILE ROUNDS: reads FILE, which was last read long ago, closes it, and looks at once: its time of access must
 * have moved. Prints how often it had not; exits with 1 if that was ever so.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	const struct timespec old[] = { { 1000, 0 }, { 2000, 0 } };
	const char *path = argv[1];
	int stale = 0, rounds;
	struct stat status;
	char bytes[16];

	if (argc != 3)
		return 2;
	rounds = atoi(argv[2]);
	for (int round = 0; round < rounds; round++) {
		int fd;

		/* read after it has changed, so relatime moves it */
		if (utimensat(AT_FDCWD, path, old, 0) || stat(path, &status) || status.st_atim.tv_sec != 1000 ||
		    (fd = open(path, O_RDONLY)) < 0 || read(fd, bytes, sizeof(bytes)) <= 0 || close(fd) || stat(path, &status)) {
			perror(path);
			return 2;
		}
		stale += status.st_atim.tv_sec == 1000;
	}
	printf("%d of %d were stale\n", stale, rounds);
	return stale != 0;
}
