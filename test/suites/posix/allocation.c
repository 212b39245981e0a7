// SPDX-License-Identifier: MIT
//
// Sparse files: fallocate in each mode, SEEK_HOLE and SEEK_DATA, copy_file_range, limits on size.

#include "posix.h"

#include <sys/resource.h>

enum { BLOCK = 4096 };
static char block[BLOCK * 64], back[BLOCK * 64];

static int filled(const char *path, int blocks) {
  memset(block, 'd', sizeof block);
  int fd = (int)OK(open(path, O_CREAT | O_RDWR | O_TRUNC, 0644));
  IS(pwrite(fd, block, (size_t)blocks * BLOCK, 0), blocks * BLOCK);
  return fd;
}

static bool is_all(int fd, off_t from, size_t length, char byte) {
  memset(back, ~byte, length);
  if (pread(fd, back, length, from) != (ssize_t)length) return false;
  for (size_t i = 0; i < length; i++)
    if (back[i] != byte) return false;
  return true;
}

TEST(fallocate_extends) {
  int fd = (int)OK(open("e", O_CREAT | O_RDWR, 0644));
  OK(fallocate(fd, 0, 0, 10 * BLOCK + 1));
  IS(status_of("e").st_size, 10 * BLOCK + 1);
  HOLDS(status_of("e").st_blocks >= 10 * BLOCK / 512);
  HOLDS(is_all(fd, 0, 10 * BLOCK + 1, 0));
  OK(fallocate(fd, 0, 0, 100));
  IS(status_of("e").st_size, 10 * BLOCK + 1);
  IS(posix_fallocate(fd, 20 * BLOCK, 5), 0);
  IS(status_of("e").st_size, 20 * BLOCK + 5);
  about("keep size");
  OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100 * BLOCK));
  IS(status_of("e").st_size, 20 * BLOCK + 5);
  HOLDS(status_of("e").st_blocks >= 100 * BLOCK / 512);
  about("wrong arguments");
  FAILS(EINVAL, fallocate(fd, 0, -1, 10));
  FAILS(EINVAL, fallocate(fd, 0, 0, 0));
  FAILS(EINVAL, fallocate(fd, 0, 0, -1));
  FAILS(EOPNOTSUPP, fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, BLOCK));
  FAILS(EFBIG, fallocate(fd, 0, INT64_MAX - 10, 100));
  IS(posix_fallocate(fd, -1, 1), EINVAL);
  int reader = (int)OK(open("e", O_RDONLY));
  IS(posix_fallocate(reader, 0, 1), EBADF);
  int directory = (int)OK(open(".", O_RDONLY));
  IS(posix_fallocate(directory, 0, 1), EBADF);
}

TEST(fallocate_punch_hole) {
  int fd = filled("e", 16);
  struct stat was = status_of("e");
  OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4 * BLOCK, 8 * BLOCK));
  HOLDS(is_all(fd, 0, 4 * BLOCK, 'd'));
  HOLDS(is_all(fd, 4 * BLOCK, 8 * BLOCK, 0));
  HOLDS(is_all(fd, 12 * BLOCK, 4 * BLOCK, 'd'));
  IS(status_of("e").st_size, 16 * BLOCK);
  OK(fsync(fd));
  IS(status_of("e").st_blocks, was.st_blocks - 8 * BLOCK / 512);
  about("not on block borders");
  OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 50));
  HOLDS(is_all(fd, 0, 100, 'd') && is_all(fd, 100, 50, 0) && is_all(fd, 150, 100, 'd'));
  about("beyond the end");
  OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 15 * BLOCK, 100 * BLOCK));
  IS(status_of("e").st_size, 16 * BLOCK);
  HOLDS(is_all(fd, 15 * BLOCK, BLOCK, 0));
  about("seen through a map");
  char *map = mmap(NULL, 16 * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  IS(map[13 * BLOCK], 'd');
  OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 13 * BLOCK, BLOCK));
  IS(map[13 * BLOCK], 0);
}

TEST(fallocate_zero_range) {
  int fd = filled("e", 8);
  OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, BLOCK + 10, 3 * BLOCK));
  HOLDS(is_all(fd, 0, BLOCK + 10, 'd'));
  HOLDS(is_all(fd, BLOCK + 10, 3 * BLOCK, 0));
  HOLDS(is_all(fd, 4 * BLOCK + 10, BLOCK, 'd'));
  OK(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 7 * BLOCK, 4 * BLOCK));
  IS(status_of("e").st_size, 8 * BLOCK);
  OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 7 * BLOCK, 4 * BLOCK));
  IS(status_of("e").st_size, 11 * BLOCK);
}

TEST(seek_hole_and_data) {
  int fd = (int)OK(open("e", O_CREAT | O_RDWR, 0644));
  FAILS(ENXIO, lseek(fd, 0, SEEK_DATA));
  FAILS(ENXIO, lseek(fd, 0, SEEK_HOLE));
  memset(block, 'd', sizeof block);
  IS(pwrite(fd, block, BLOCK, 256 * BLOCK), BLOCK);
  IS(pwrite(fd, block, BLOCK, 512 * BLOCK), BLOCK);
  OK(ftruncate(fd, 1024 * BLOCK));
  IS(lseek(fd, 0, SEEK_HOLE), 0);
  IS(lseek(fd, 0, SEEK_DATA), 256 * BLOCK);
  IS(lseek(fd, 256 * BLOCK, SEEK_DATA), 256 * BLOCK);
  IS(lseek(fd, 256 * BLOCK + 5, SEEK_DATA), 256 * BLOCK + 5);
  IS(lseek(fd, 256 * BLOCK, SEEK_HOLE), 257 * BLOCK);
  IS(lseek(fd, 257 * BLOCK, SEEK_DATA), 512 * BLOCK);
  IS(lseek(fd, 512 * BLOCK + 7, SEEK_HOLE), 513 * BLOCK);
  FAILS(ENXIO, lseek(fd, 513 * BLOCK, SEEK_DATA));
  FAILS(ENXIO, lseek(fd, 1024 * BLOCK, SEEK_HOLE));
  FAILS(ENXIO, lseek(fd, -1, SEEK_DATA));
  IS(lseek(fd, 1024 * BLOCK - 1, SEEK_HOLE), 1024 * BLOCK - 1);
  IS(lseek(fd, 0, SEEK_CUR), 1024 * BLOCK - 1);
  about("full file");
  OK(put("full", "text"));
  int full = (int)OK(open("full", O_RDONLY));
  IS(lseek(full, 0, SEEK_DATA), 0);
  IS(lseek(full, 0, SEEK_HOLE), 4);
}

TEST(copy_ranges) {
  int from = filled("from", 32), to = (int)OK(open("to", O_CREAT | O_RDWR, 0644));
  for (int i = 0; i < 32; i++) {
    memset(block, 'A' + i, BLOCK);
    if (pwrite(from, block, BLOCK, i * BLOCK) != BLOCK) abort();
  }
  off_t in = 3 * BLOCK, out = BLOCK + 1;
  IS(copy_file_range(from, &in, to, &out, 5 * BLOCK, 0), 5 * BLOCK);
  IS(in, 8 * BLOCK);
  IS(out, 6 * BLOCK + 1);
  IS(status_of("to").st_size, 6 * BLOCK + 1);
  HOLDS(is_all(to, 0, BLOCK + 1, 0));
  for (int i = 0; i < 5; i++) HOLDS(is_all(to, (1 + i) * BLOCK + 1, BLOCK, (char)('A' + 3 + i)));
  about("positions of the descriptors");
  IS(lseek(from, 30 * BLOCK, SEEK_SET), 30 * BLOCK);
  IS(lseek(to, 0, SEEK_SET), 0);
  IS(copy_file_range(from, NULL, to, NULL, 100 * BLOCK, 0), 2 * BLOCK);
  IS(lseek(from, 0, SEEK_CUR), 32 * BLOCK);
  IS(lseek(to, 0, SEEK_CUR), 2 * BLOCK);
  IS(copy_file_range(from, NULL, to, NULL, BLOCK, 0), 0);
  about("within one file");
  in = 0, out = 40 * BLOCK;
  IS(copy_file_range(from, &in, from, &out, BLOCK, 0), BLOCK);
  HOLDS(is_all(from, 40 * BLOCK, BLOCK, 'A'));
  in = 0, out = 10;
  FAILS(EINVAL, copy_file_range(from, &in, from, &out, 100, 0));
  about("wrong descriptors");
  int reader = (int)OK(open("from", O_RDONLY)), append = (int)OK(open("to", O_WRONLY | O_APPEND));
  FAILS(EBADF, copy_file_range(from, NULL, reader, NULL, 1, 0));
  FAILS(EBADF, copy_file_range(from, NULL, append, NULL, 1, 0));
  FAILS(EISDIR, copy_file_range((int)OK(open(".", O_RDONLY)), NULL, to, NULL, 1, 0));
  FAILS(EINVAL, copy_file_range(from, NULL, to, NULL, 1, 1));
  about("seen through the page cache of the target");
  HOLDS(is_all(to, 0, 10, 'A' + 30));
  in = 0, out = 0;
  IS(copy_file_range(from, &in, to, &out, BLOCK, 0), BLOCK);
  HOLDS(is_all(to, 0, BLOCK, 'A'));
  about("from what was only just written");
  IS(pwrite(from, "fresh", 5, 0), 5);
  in = 0, out = 0;
  IS(copy_file_range(from, &in, to, &out, 5, 0), 5);
  IS(pread(to, back, 5, 0), 5);
  HOLDS(!memcmp(back, "fresh", 5));
}

TEST(size_limit_of_the_process) {
  IS(IN_CHILD({
       struct rlimit limit = {10 * BLOCK, 10 * BLOCK};
       signal(SIGXFSZ, SIG_IGN);
       int fd = open("e", O_CREAT | O_RDWR, 0644);
       if (setrlimit(RLIMIT_FSIZE, &limit)) _exit(1);
       if (pwrite(fd, block, BLOCK, 9 * BLOCK) != BLOCK) _exit(2);
       if (pwrite(fd, block, BLOCK, 10 * BLOCK) != -1 || errno != EFBIG) _exit(3);
       if (pwrite(fd, block, BLOCK, 10 * BLOCK - 100) != 100) _exit(4);
       if (ftruncate(fd, 10 * BLOCK + 1) != -1 || errno != EFBIG) _exit(5);
       if (truncate("e", 10 * BLOCK + 1) != -1 || errno != EFBIG) _exit(6);
       if (fallocate(fd, 0, 0, 11 * BLOCK) != -1 || errno != EFBIG) _exit(7);
       if (ftruncate(fd, BLOCK)) _exit(8);
     }),
     0);
  IS(status_of("e").st_size, BLOCK);
  about("signal");
  IS(IN_CHILD({
       struct rlimit limit = {BLOCK, BLOCK};
       struct rlimit no_core = {0, 0};
       setrlimit(RLIMIT_CORE, &no_core);
       if (setrlimit(RLIMIT_FSIZE, &limit)) _exit(1);
       if (pwrite(open("e", O_RDWR), "x", 1, BLOCK) != -1) _exit(2);
     }),
     128 + SIGXFSZ);
}
