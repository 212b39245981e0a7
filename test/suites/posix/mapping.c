// SPDX-License-Identifier: MIT
//
// mmap: shared maps and read/write see each other, across processes and descriptors; ends of files; protections.

#include "posix.h"

#include <setjmp.h>

enum { PAGE = 4096 };

TEST(map_shared_and_files_agree) {
  int fd = (int)OK(open("e", O_CREAT | O_RDWR, 0644));
  OK(ftruncate(fd, 3 * PAGE));
  char *map = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), text[16] = {0};
  HOLDS(map != MAP_FAILED);
  memcpy(map + PAGE - 2, "across", 6);
  IS(pread(fd, text, 6, PAGE - 2), 6);
  HOLDS(!memcmp(text, "across", 6));
  IS(pwrite(fd, "written", 7, 2 * PAGE), 7);
  HOLDS(!memcmp(map + 2 * PAGE, "written", 7));
  OK(msync(map, 3 * PAGE, MS_SYNC));
  OK(msync(map, PAGE, MS_ASYNC));
  about("another process");
  IS(IN_CHILD({
       int own = open("e", O_RDWR);
       char *theirs = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);
       if (memcmp(theirs + PAGE - 2, "across", 6)) _exit(1);
       theirs[5] = 'c';
     }),
     0);
  IS(map[5], 'c');
  about("kept after munmap, close and dropped pages");
  map[9] = 'k';
  OK(munmap(map, 3 * PAGE));
  OK(fsync(fd));
  IS(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  close(fd);
  drop_caches();
  fd = (int)OK(open("e", O_RDONLY));
  IS(pread(fd, text, 16, 0), 16);
  IS(text[9], 'k');
  IS(text[5], 'c');
  about("map outlives the descriptor");
  map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
  close(fd);
  IS(map[9], 'k');
}

TEST(map_private_keeps_to_itself) {
  OK(put("e", "original"));
  int fd = (int)OK(open("e", O_RDWR));
  char *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
  IS(map[0], 'o');
  map[0] = 'O';
  HOLDS(holds("e", "original"));
  IS(map[8], 0);
}

static sigjmp_buf escape;
static void jump(int signal) { siglongjmp(escape, signal); }

TEST(map_ends_with_the_file) {
  int fd = (int)OK(open("e", O_CREAT | O_RDWR, 0644));
  IS(pwrite(fd, "end", 3, PAGE), 3);
  char *map = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  IS(map[PAGE + 3], 0);
  map[PAGE + 100] = 'x';  // past the end, in the last page: never reaches the file
  signal(SIGBUS, jump);
  if (sigsetjmp(escape, 1) == 0) {
    map[2 * PAGE] = 'x';
    assertion(false, __FILE__, __LINE__, "a page beyond the end raises SIGBUS");
  } else {
    assertion(true, __FILE__, __LINE__, "a page beyond the end raises SIGBUS");
  }
  IS(status_of("e").st_size, PAGE + 3);
  about("grown");
  OK(ftruncate(fd, 3 * PAGE));
  map[2 * PAGE] = 'y';
  char byte;
  IS(pread(fd, &byte, 1, 2 * PAGE), 1);
  IS(byte, 'y');
  about("shrunk");
  OK(ftruncate(fd, PAGE));
  if (sigsetjmp(escape, 1) == 0) {
    map[PAGE] = 'x';
    assertion(false, __FILE__, __LINE__, "a page cut off raises SIGBUS");
  } else {
    assertion(true, __FILE__, __LINE__, "a page cut off raises SIGBUS");
  }
}

TEST(map_protection_follows_the_descriptor) {
  OK(put("e", "text"));
  int reader = (int)OK(open("e", O_RDONLY)), writer = (int)OK(open("e", O_WRONLY));
  HOLDS(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, reader, 0) != MAP_FAILED);
  FAILS(EACCES, (long)mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0));
  FAILS(EACCES, (long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, writer, 0));
  char *map = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, reader, 0);
  FAILS(EACCES, mprotect(map, PAGE, PROT_READ | PROT_WRITE));
  FAILS(ENODEV, (long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, (int)OK(open(".", O_RDONLY)), 0));
}

TEST(map_of_a_growing_file) {
  int fd = (int)OK(open("e", O_CREAT | O_RDWR, 0644));
  for (int i = 0; i < 64; i++) {
    about("%d pages", i + 1);
    OK(ftruncate(fd, (i + 1) * PAGE));
    char *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)i * PAGE);
    *(int *)map = i;
    OK(munmap(map, PAGE));
  }
  for (int i = 0, value; i < 64; i++) {
    IS(pread(fd, &value, sizeof value, (off_t)i * PAGE), sizeof value);
    IS(value, i);
  }
}
