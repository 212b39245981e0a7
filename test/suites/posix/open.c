// SPDX-License-Identifier: MIT
//
// open and its flags, and the permission bits as seen by every class of caller.

#include "posix.h"

TEST(permission_classes) {
  // For each mode and caller: what open and access say must follow from the one class that applies.
  static const struct {
    const char *name;
    uid_t uid;
    gid_t gid, member;
    int shift;
  } callers[] = {
      {"owner", OWNER, GUESTS, 0, 6},
      {"owner in the group", OWNER, STAFF, 0, 6},
      {"group", OTHER, STAFF, 0, 3},
      {"supplementary group", OTHER, GUESTS, STAFF, 3},
      {"other", OTHER, GUESTS, CREW, 0},
  };
  for (enum type type = REGULAR; type <= DIRECTORY; type++) {
    OK(make_owned(type, "e", 0, OWNER, STAFF));
    for (size_t i = 0; i < sizeof callers / sizeof *callers; i++) {
      for (mode_t bits = 0; bits < 8; bits++) {
        // The class under test gets the bits, the other two their opposite.
        mode_t mode = (0777 & ~(7u << callers[i].shift)) ^ ((bits * 0111) & ~(7u << callers[i].shift));
        mode |= bits << callers[i].shift;
        OK(chmod("e", mode));
        about("%s mode %#o as %s", type_names[type], mode, callers[i].name);
        AS_MEMBER(callers[i].uid, callers[i].gid, callers[i].member) {
          int read_result = bits & 4 ? 0 : EACCES, write_result = bits & 2 ? 0 : EACCES;
          int fd = (int)GIVES(read_result, open("e", O_RDONLY));
          if (fd >= 0) close(fd);
          if (type == REGULAR) {
            fd = (int)GIVES(write_result, open("e", O_WRONLY));
            if (fd >= 0) close(fd);
            fd = (int)GIVES(read_result ? read_result : write_result, open("e", O_RDWR));
            if (fd >= 0) close(fd);
            fd = (int)GIVES(write_result, open("e", O_WRONLY | O_TRUNC));
            if (fd >= 0) close(fd);
            GIVES(write_result, truncate("e", 0));
          }
          GIVES(read_result, faccessat(AT_FDCWD, "e", R_OK, AT_EACCESS));
          GIVES(write_result, faccessat(AT_FDCWD, "e", W_OK, AT_EACCESS));
          GIVES(bits & 1 ? 0 : EACCES, faccessat(AT_FDCWD, "e", X_OK, AT_EACCESS));
          GIVES((bits & 6) == 6 ? 0 : EACCES, faccessat(AT_FDCWD, "e", R_OK | W_OK, AT_EACCESS));
          OK(faccessat(AT_FDCWD, "e", F_OK, AT_EACCESS));
        }
      }
    }
    about("%s as root", type_names[type]);
    OK(chmod("e", 0));
    OK(close(open("e", O_RDONLY)));
    OK(access("e", R_OK | W_OK));
    GIVES(type == DIRECTORY ? 0 : EACCES, access("e", X_OK));
    OK(chmod("e", 0001));
    OK(access("e", X_OK));
    OK(destroy(type, "e"));
  }
}

TEST(access_uses_real_ids) {
  OK(make_owned(REGULAR, "e", 0600, OWNER, STAFF));
  IS(IN_CHILD({
       if (setgroups(0, NULL) || setresuid(OTHER, OWNER, 0)) _exit(1);
       if (access("e", R_OK) != -1 || errno != EACCES) _exit(2);
       if (faccessat(AT_FDCWD, "e", R_OK, AT_EACCESS)) _exit(3);
     }),
     0);
}

TEST(exec_permission) {
  OK(put("script", "#!/bin/sh\nexit 7\n"));
  OK(chmod("script", 0755));
  IS(IN_CHILD({
       execl("./script", "script", NULL);
       _exit(1);
     }),
     7);
  OK(chmod("script", 0644));
  FAILS(EACCES, execl("./script", "script", NULL));
  OK(chmod("script", 0711));
  OK(chown("script", OWNER, STAFF));
  AS(OTHER, GUESTS) { FAILS(EACCES, open("script", O_RDONLY)); }
  about("directory");
  OK(mkdir("d", 0777));
  FAILS(EACCES, execl("./d", "d", NULL));
}

// Copies the running program into the file system under test.
static int copy_self(const char *path) {
  static char block[1 << 16];
  int from = open("/proc/self/exe", O_RDONLY), to = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0755);
  ssize_t length;
  while ((length = read(from, block, sizeof block)) > 0)
    if (write(to, block, (size_t)length) != length) return -1;
  return close(from) || close(to);
}

TEST(exec_busy_text) {
  OK(copy_self("program"));
  OK(chmod("program", 0755));
  about("open for writing, not executable");
  int fd = (int)OK(open("program", O_WRONLY));
  FAILS(ETXTBSY, execl("./program", "program", "--pause", NULL));
  close(fd);
  about("running, not writable");
  int ends[2];
  OK(pipe(ends));
  pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    execl("./program", "program", "--pause", NULL);
    _exit(1);
  }
  close(ends[1]);
  char byte;
  IS(read(ends[0], &byte, 1), 1);  // the program runs
  FAILS(ETXTBSY, open("program", O_WRONLY));
  FAILS(ETXTBSY, open("program", O_RDWR | O_TRUNC));
  FAILS(ETXTBSY, truncate("program", 0));
  OK(close(open("program", O_RDONLY)));
  OK(rename("program", "renamed"));
  OK(unlink("renamed"));
  kill(child, SIGKILL);
  exit_status(child);
}

TEST(exec_suid_and_sgid) {
  OK(copy_self("program"));
  OK(chown("program", OWNER, STAFF));
  OK(chmod("program", 06755));
  int ends[2];
  OK(pipe(ends));
  pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    if (setgroups(0, NULL) || setresgid(GUESTS, GUESTS, GUESTS) || setresuid(OTHER, OTHER, OTHER)) _exit(1);
    execl("./program", "program", "--pause", NULL);
    _exit(1);
  }
  close(ends[1]);
  char byte, path[64], line[256];
  IS(read(ends[0], &byte, 1), 1);
  snprintf(path, sizeof path, "/proc/%d/status", (int)child);
  FILE *status = fopen(path, "r");
  int uid = -1, gid = -1;
  while (status && fgets(line, sizeof line, status)) {
    sscanf(line, "Uid: %*d %d", &uid);
    sscanf(line, "Gid: %*d %d", &gid);
  }
  if (status) fclose(status);
  struct statvfs mount;
  OK(statvfs(".", &mount));
  IS(uid, mount.f_flag & ST_NOSUID ? OTHER : OWNER);
  IS(gid, mount.f_flag & ST_NOSUID ? GUESTS : STAFF);
  kill(child, SIGKILL);
  exit_status(child);
}

TEST(open_create_and_exclusive) {
  int fd = (int)OK(open("e", O_CREAT | O_EXCL | O_RDWR, 0400));
  IS(write(fd, "text", 4), 4);  // the mode counts for later opens only
  close(fd);
  FAILS(EEXIST, open("e", O_CREAT | O_EXCL | O_RDWR, 0644));
  OK(symlink("missing", "dangling"));
  FAILS(EEXIST, open("dangling", O_CREAT | O_EXCL | O_RDWR, 0644));
  about("O_CREAT through a dangling symlink");
  OK(close(open("dangling", O_CREAT | O_RDWR, 0644)));
  HOLDS(exists("missing"));
  about("mode 0 file created open");
  AS(OWNER, STAFF) { FAILS(EACCES, open("e", O_RDONLY)); }
  OK(mkdir("open", 0777));
  AS(OWNER, STAFF) {
    fd = (int)OK(open("open/e", O_CREAT | O_RDWR, 0));
    IS(write(fd, "text", 4), 4);
    close(fd);
    FAILS(EACCES, open("open/e", O_RDONLY));
  }
  about("directory");
  FAILS(EISDIR, open("open", O_CREAT | O_RDWR, 0644));
  FAILS(EISDIR, open("open", O_CREAT, 0644));
  FAILS(EISDIR, open("open", O_RDWR));
  FAILS(EISDIR, open("open", O_WRONLY));
  FAILS(EISDIR, open("open", O_RDONLY | O_TRUNC));
  FAILS(EEXIST, open("open", O_CREAT | O_EXCL, 0644));
}

TEST(open_create_races) {
  // Of many processes creating one name exclusively, exactly one wins, each round.
  struct tally {
    int winners;
  } *tally = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  for (int round = 0; round < 20; round++) {
    about("round %d", round);
    tally->winners = 0;
    pid_t children[4];
    char path[32];
    snprintf(path, sizeof path, "e.%d", round);
    struct gate gate = gate_new();
    for (int i = 0; i < 4; i++) {
      children[i] = fork();
      if (children[i] == 0) {
        gate_await(&gate);
        bool won = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644) >= 0;
        if (won) __atomic_add_fetch(&tally->winners, 1, __ATOMIC_SEQ_CST);
        _exit(0);
      }
    }
    for (int i = 0; i < 4; i++) gate_open(&gate);
    for (int i = 0; i < 4; i++) IS(exit_status(children[i]), 0);
    IS(tally->winners, 1);
    close(gate.ends[0]);
    close(gate.ends[1]);
  }
}

TEST(open_truncate) {
  OK(put("e", "content"));
  OK(close(open("e", O_WRONLY | O_TRUNC)));
  IS(status_of("e").st_size, 0);
  OK(put("e", "content"));
  int reader = (int)OK(open("e", O_RDONLY));
  char text[16];
  IS(read(reader, text, 3), 3);
  OK(close(open("e", O_RDWR | O_CREAT | O_TRUNC, 0644)));
  IS(read(reader, text, 3), 0);
  IS(lseek(reader, 0, SEEK_CUR), 3);
}

TEST(open_append) {
  int first = (int)OK(open("e", O_CREAT | O_RDWR | O_APPEND, 0644)), second = (int)OK(open("e", O_WRONLY | O_APPEND));
  IS(write(first, "one", 3), 3);
  IS(write(second, "two", 3), 3);
  IS(lseek(first, 0, SEEK_SET), 0);
  IS(write(first, "three", 5), 5);
  IS(lseek(first, 0, SEEK_CUR), 11);
  HOLDS(holds("e", "onetwothree"));
  about("pwrite appends as well on Linux");
  IS(pwrite(first, "!", 1, 0), 1);
  HOLDS(holds("e", "onetwothree!"));
  about("by fcntl");
  int third = (int)OK(open("e", O_WRONLY));
  OK(fcntl(third, F_SETFL, O_APPEND));
  IS(write(third, "?", 1), 1);
  HOLDS(holds("e", "onetwothree!?"));
  about("from processes at once");
  OK(put("log", ""));
  pid_t children[3];
  for (int i = 0; i < 3; i++) {
    children[i] = fork();
    if (children[i] == 0) {
      int fd = open("log", O_WRONLY | O_APPEND);
      char line[32];
      snprintf(line, sizeof line, "writer %d\n", i);
      for (int j = 0; j < 200; j++)
        if (write(fd, line, 9) != 9) _exit(1);
      _exit(0);
    }
  }
  for (int i = 0; i < 3; i++) IS(exit_status(children[i]), 0);
  IS(status_of("log").st_size, 3 * 200 * 9);
  FILE *log = fopen("log", "r");
  char line[64];
  int whole = 0;
  while (fgets(line, sizeof line, log)) whole += !strncmp(line, "writer ", 7) && strlen(line) == 9;
  fclose(log);
  IS(whole, 600);
}

TEST(open_nofollow_directory_path) {
  OK(put("file", "text"));
  OK(mkdir("d", 0755));
  OK(symlink("file", "link"));
  OK(symlink("d", "link to d"));
  FAILS(ELOOP, open("link", O_RDONLY | O_NOFOLLOW));
  FAILS(ELOOP, open("link to d", O_RDONLY | O_NOFOLLOW));
  FAILS(ENOTDIR, open("link to d", O_RDONLY | O_NOFOLLOW | O_DIRECTORY));
  OK(close(open("file", O_RDONLY | O_NOFOLLOW)));
  FAILS(ENOTDIR, open("file", O_RDONLY | O_DIRECTORY));
  FAILS(ENOTDIR, open("link", O_RDONLY | O_DIRECTORY));
  OK(close(open("link to d", O_RDONLY | O_DIRECTORY)));
  about("O_PATH");
  OK(chmod("file", 0));
  AS(OTHER, GUESTS) {
    int fd = (int)OK(open("file", O_PATH));
    char byte;
    struct stat status;
    FAILS(EBADF, read(fd, &byte, 1));
    FAILS(EBADF, fchmod(fd, 0644));
    FAILS(EBADF, ftruncate(fd, 0));
    OK(fstat(fd, &status));
    IS(status.st_size, 4);
    close(fd);
  }
  int fd = (int)OK(open("link", O_PATH | O_NOFOLLOW));
  char target[16];
  IS(readlinkat(fd, "", target, sizeof target), 4);
  close(fd);
}

TEST(open_modes_of_descriptors) {
  OK(put("e", "text"));
  char byte;
  int reader = (int)OK(open("e", O_RDONLY)), writer = (int)OK(open("e", O_WRONLY));
  FAILS(EBADF, write(reader, "x", 1));
  FAILS(EBADF, read(writer, &byte, 1));
  FAILS(EINVAL, ftruncate(reader, 0));
  FAILS(EBADF, fallocate(reader, 0, 0, 1));
  int directory = (int)OK(open(".", O_RDONLY));
  FAILS(EISDIR, read(directory, &byte, 1));
  FAILS(EBADF, write(directory, "x", 1));
  OK(fsync(reader));
  OK(fsync(writer));
  OK(fdatasync(writer));
  OK(fsync(directory));
  OK(syncfs(directory));
  about("a descriptor keeps its rights");
  OK(chown("e", OWNER, STAFF));
  OK(chmod("e", 0));
  AS(OTHER, GUESTS) {
    IS(pread(reader, &byte, 1, 0), 1);
    IS(pwrite(writer, "T", 1, 0), 1);
    OK(ftruncate(writer, 2));
  }
}

TEST(open_sizes_and_offsets) {
  int fd = (int)OK(open("e", O_CREAT | O_RDWR, 0644));
  static const long long offsets[] = {0, 1, 4095, 4096, 65535, 1 << 20, (1LL << 31) - 1, 1LL << 31, (1LL << 32) + 5,
                                      1LL << 40};
  for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
    about("offset %lld", offsets[i]);
    char back[8] = {0};
    IS(pwrite(fd, "mark", 4, offsets[i]), 4);
    IS(status_of("e").st_size, offsets[i] + 4);
    IS(pread(fd, back, sizeof back, offsets[i]), 4);
    HOLDS(!memcmp(back, "mark", 4));
    IS(pread(fd, back, sizeof back, offsets[i] + 4), 0);
    IS(lseek(fd, 0, SEEK_END), offsets[i] + 4);
  }
  FAILS(EINVAL, pwrite(fd, "x", 1, -1));
  FAILS(EINVAL, lseek(fd, -1, SEEK_SET));
  FAILS(EINVAL, ftruncate(fd, -1));
  FAILS(EINVAL, truncate("e", -5));
  OK(ftruncate(fd, 1LL << 41));
  IS(status_of("e").st_size, 1LL << 41);
  FAILS(EFBIG, ftruncate(fd, INT64_MAX));
  FAILS(EFBIG, pwrite(fd, "x", 1, INT64_MAX - 1));
}

TEST(truncate_every_type) {
  for (enum type type = REGULAR; type < SYMLINK; type++) {
    about("%s", type_names[type]);
    OK(make(type, "e", 0644));
    GIVES(type == REGULAR ? 0 : type == DIRECTORY ? EISDIR : EINVAL, truncate("e", 100));
    if (type == REGULAR) IS(status_of("e").st_size, 100);
    OK(destroy(type, "e"));
  }
  about("shrinking and growing shows zeroes");
  char block[10000], zero[10000] = {0};
  memset(block, 'x', sizeof block);
  int fd = (int)OK(open("e", O_CREAT | O_RDWR, 0644));
  IS(write(fd, block, sizeof block), sizeof block);
  OK(truncate("e", 3));
  OK(truncate("e", 10000));
  IS(pread(fd, block, sizeof block, 0), 10000);
  HOLDS(!memcmp(block, "xxx", 3));
  HOLDS(!memcmp(block + 3, zero, 9997));
}

TEST(vectored_io) {
  int fd = (int)OK(open("e", O_CREAT | O_RDWR, 0644));
  static char first[70000], second[3], third[200000], back[300000];
  memset(first, 'a', sizeof first);
  memset(second, 'b', sizeof second);
  memset(third, 'c', sizeof third);
  struct iovec {
    void *base;
    size_t length;
  } parts[] = {{first, sizeof first}, {second, sizeof second}, {third, sizeof third}};
  IS(syscall(SYS_writev, fd, parts, 3), 270003);
  IS(pread(fd, back, sizeof back, 0), 270003);
  HOLDS(!memcmp(back, first, sizeof first));
  HOLDS(!memcmp(back + 70000, "bbb", 3));
  HOLDS(!memcmp(back + 70003, third, sizeof third));
  about("one write of 4 MiB");
  char *large = malloc(4 << 20);
  for (int i = 0; i < 4 << 20; i++) large[i] = (char)(i * 31 + (i >> 12));
  IS(pwrite(fd, large, 4 << 20, 5), 4 << 20);
  char *read_back = malloc(4 << 20);
  IS(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  IS(pread(fd, read_back, 4 << 20, 5), 4 << 20);
  HOLDS(!memcmp(large, read_back, 4 << 20));
}
