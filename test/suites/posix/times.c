// SPDX-License-Identifier: MIT
//
// atime, mtime, ctime: their precision and range, who may set them, and which calls move them.

#include "posix.h"

static struct timespec at(time_t seconds, long nanoseconds) {
  return (struct timespec){.tv_sec = seconds, .tv_nsec = nanoseconds};
}

TEST(utimensat_precision_and_range) {
  static const long long seconds[] = {0,          1,           -1,           -1000000000, -2147483647, 2147483647,
                                      2147483648, 4294967295, 4294967296, 5000000000,  12000000000};
  static const long nanoseconds[] = {0, 1, 999999999, 123456789, 500000000};
  for (enum type type = REGULAR; type < TYPES; type++) {
    OK(make(type, "e", 0644));
    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++) {
      for (size_t j = 0; j < sizeof nanoseconds / sizeof *nanoseconds; j++) {
        about("%s %lld.%09ld", type_names[type], seconds[i], nanoseconds[j]);
        struct timespec times[] = {at(seconds[i], nanoseconds[j]), at(seconds[i], 999999999 - nanoseconds[j])};
        OK(utimensat(AT_FDCWD, "e", times, AT_SYMLINK_NOFOLLOW));
        struct stat status = status_of("e");
        IS(status.st_atim.tv_sec, seconds[i]);
        IS(status.st_atim.tv_nsec, nanoseconds[j]);
        IS(status.st_mtim.tv_sec, seconds[i]);
        IS(status.st_mtim.tv_nsec, 999999999 - nanoseconds[j]);
      }
    }
    OK(destroy(type, "e"));
  }
}

TEST(utimensat_now_and_omit) {
  OK(put("e", ""));
  struct timespec set[] = {at(100, 1), at(200, 2)};
  OK(utimensat(AT_FDCWD, "e", set, 0));
  struct stat was = status_of("e");
  tick();
  about("omit atime");
  OK(utimensat(AT_FDCWD, "e", (struct timespec[]){at(7, UTIME_OMIT), at(300, 3)}, 0));
  IS(status_of("e").st_atim.tv_sec, 100);
  IS(status_of("e").st_mtim.tv_sec, 300);
  HOLDS(before(was.st_ctim, status_of("e").st_ctim));
  about("omit mtime");
  OK(utimensat(AT_FDCWD, "e", (struct timespec[]){at(400, 4), at(7, UTIME_OMIT)}, 0));
  IS(status_of("e").st_atim.tv_sec, 400);
  IS(status_of("e").st_mtim.tv_sec, 300);
  about("omit both");
  was = status_of("e");
  tick();
  OK(utimensat(AT_FDCWD, "e", (struct timespec[]){at(0, UTIME_OMIT), at(0, UTIME_OMIT)}, 0));
  HOLDS(same(was.st_ctim, status_of("e").st_ctim));
  FAILS(ENOENT, utimensat(AT_FDCWD, "missing", (struct timespec[]){at(0, 0), at(0, UTIME_OMIT)}, 0));
  about("now");
  struct timespec start;
  clock_gettime(CLOCK_REALTIME_COARSE, &start);
  OK(utimensat(AT_FDCWD, "e", (struct timespec[]){at(5, UTIME_NOW), at(0, UTIME_OMIT)}, 0));
  HOLDS(!before(status_of("e").st_atim, start));
  IS(status_of("e").st_mtim.tv_sec, 300);
  OK(utimensat(AT_FDCWD, "e", (struct timespec[]){at(9, 9), at(5, UTIME_NOW)}, 0));
  IS(status_of("e").st_atim.tv_sec, 9);
  HOLDS(!before(status_of("e").st_mtim, start));
  OK(utimensat(AT_FDCWD, "e", set, 0));
  OK(utimensat(AT_FDCWD, "e", NULL, 0));
  HOLDS(!before(status_of("e").st_atim, start) && !before(status_of("e").st_mtim, start));
  about("wrong nanoseconds");
  FAILS(EINVAL, utimensat(AT_FDCWD, "e", (struct timespec[]){at(0, 1000000000), at(0, 0)}, 0));
  FAILS(EINVAL, utimensat(AT_FDCWD, "e", (struct timespec[]){at(0, 0), at(0, -1)}, 0));
  about("symlink");
  OK(symlink("e", "link"));
  OK(utimensat(AT_FDCWD, "link", set, AT_SYMLINK_NOFOLLOW));
  IS(status_of("link").st_mtim.tv_sec, 200);
  HOLDS(status_of("e").st_mtim.tv_sec != 200);
  OK(utimensat(AT_FDCWD, "link", set, 0));
  IS(status_of("e").st_mtim.tv_sec, 200);
  about("futimens on a read-only descriptor");
  int fd = (int)OK(open("e", O_RDONLY));
  OK(futimens(fd, (struct timespec[]){at(11, 12), at(13, 14)}));
  IS(status_of("e").st_mtim.tv_nsec, 14);
}

TEST(utimensat_permissions) {
  static const struct {
    const char *what;
    struct timespec times[2];
    bool now;   // enough to have write permission
    bool none;  // changes nothing: anyone may
  } sets[] = {
      {"NULL", {{0, 0}, {0, 0}}, true, false},
      {"both now", {{0, UTIME_NOW}, {0, UTIME_NOW}}, true, false},
      {"both given", {{1, 2}, {3, 4}}, false, false},
      {"atime given", {{1, 2}, {0, UTIME_OMIT}}, false, false},
      {"mtime given", {{0, UTIME_OMIT}, {1, 2}}, false, false},
      {"atime now, mtime omitted", {{0, UTIME_NOW}, {0, UTIME_OMIT}}, false, false},
      {"atime omitted, mtime now", {{0, UTIME_OMIT}, {0, UTIME_NOW}}, false, false},
      {"both omitted", {{0, UTIME_OMIT}, {0, UTIME_OMIT}}, true, true},
  };
  for (enum type type = REGULAR; type < SYMLINK; type++) {
    OK(make_owned(type, "e", 0444, OWNER, STAFF));
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
      const struct timespec *times = i == 0 ? NULL : sets[i].times;
      about("%s, %s", type_names[type], sets[i].what);
      OK(chmod("e", 0444));
      AS(OWNER, STAFF) { OK(utimensat(AT_FDCWD, "e", times, 0)); }
      OK(utimensat(AT_FDCWD, "e", times, 0));
      int without = sets[i].none ? 0 : sets[i].now ? EACCES : EPERM;
      AS(OTHER, GUESTS) { GIVES(without, utimensat(AT_FDCWD, "e", times, 0)); }
      AS(OTHER, STAFF) { GIVES(without, utimensat(AT_FDCWD, "e", times, 0)); }
      OK(chmod("e", 0464));
      int with = sets[i].now ? 0 : EPERM;
      AS(OTHER, STAFF) { GIVES(with, utimensat(AT_FDCWD, "e", times, 0)); }
      AS_MEMBER(OTHER, GUESTS, STAFF) { GIVES(with, utimensat(AT_FDCWD, "e", times, 0)); }
      AS(OTHER, GUESTS) { GIVES(without, utimensat(AT_FDCWD, "e", times, 0)); }
      OK(chmod("e", 0446));
      AS(OTHER, GUESTS) { GIVES(with, utimensat(AT_FDCWD, "e", times, 0)); }
    }
    OK(destroy(type, "e"));
  }
}

// Changes that must move ctime alone, or mtime and ctime; and the same calls failing, which must move nothing.
static int change_mode(void) { return chmod("e", 0600); }
static int change_owner(void) { return chown("e", OWNER, STAFF); }
static int change_to_same_owner(void) { return chown("e", OWNER, STAFF); }
static int change_xattr(void) { return setxattr("e", "user.name", "value", 5, 0); }
static int drop_xattr(void) { return removexattr("e", "user.name"); }
static int change_acl(void) {
  // Version 2: user::rw- user:30002:r-- group::r-- mask::r-- other::---
  static const uint32_t acl[] = {2,          0x00060001, ~0u, 0x00040002, OTHER,      0x00040004,
                                 ~0u, 0x00040010, ~0u, 0x00000020, ~0u};
  return setxattr("e", "system.posix_acl_access", acl, sizeof acl, 0);
}
static int change_size(void) { return truncate("e", 3); }
static int change_to_same_size(void) { return truncate("e", 3); }
static int change_data(void) {
  int fd = open("e", O_WRONLY);
  int result = write(fd, "x", 1) == 1 ? 0 : -1;
  return close(fd) || result;
}
static int change_by_opening(void) {
  int fd = open("e", O_WRONLY | O_TRUNC);
  return close(fd);
}
static int change_by_writing_nothing(void) {
  int fd = open("e", O_WRONLY);
  int result = write(fd, "", 0) == 0 ? 0 : -1;
  return close(fd) || result;
}
static int change_by_map(void) {
  int fd = open("e", O_RDWR);
  if (ftruncate(fd, 4096)) return -1;
  char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  tick();
  map[0] = 'y';
  int result = msync(map, 4096, MS_SYNC);
  return munmap(map, 4096) || close(fd) || result;
}
static int change_by_fallocate(void) {
  int fd = open("e", O_WRONLY);
  int result = fallocate(fd, 0, 0, 9000);
  return close(fd) || result;
}
static int change_by_punching(void) {
  int fd = open("e", O_WRONLY);
  int result = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
  return close(fd) || result;
}
static int change_nothing(void) { return open("e", O_RDONLY) >= 0 && access("e", R_OK) == 0 ? 0 : -1; }

enum { MOVES_NONE, MOVES_CTIME, MOVES_BOTH };

TEST(times_moved_by_changes) {
  static const struct {
    const char *name;
    int (*change)(void);
    int moves;
  } changes[] = {
      {"chmod", change_mode, MOVES_CTIME},
      {"chown", change_owner, MOVES_CTIME},
      {"chown to the same", change_to_same_owner, MOVES_CTIME},
      {"setxattr", change_xattr, MOVES_CTIME},
      {"removexattr", drop_xattr, MOVES_CTIME},
      {"ACL", change_acl, MOVES_CTIME},
      {"write", change_data, MOVES_BOTH},
      {"write of nothing", change_by_writing_nothing, MOVES_NONE},
      {"open and access", change_nothing, MOVES_NONE},
      {"truncate", change_size, MOVES_BOTH},
      {"truncate to the same", change_to_same_size, MOVES_BOTH},
      {"O_TRUNC of something", change_by_opening, MOVES_BOTH},
      {"O_TRUNC of nothing", change_by_opening, MOVES_BOTH},
      {"mmap", change_by_map, MOVES_BOTH},
      {"fallocate", change_by_fallocate, MOVES_BOTH},
      {"punch hole", change_by_punching, MOVES_BOTH},
  };
  OK(put("e", "text"));
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    about("%s", changes[i].name);
    struct stat was = status_of("e"), parent = status_of(".");
    tick();
    OK(changes[i].change());
    struct stat now = status_of("e");
    IS(before(was.st_mtim, now.st_mtim), changes[i].moves == MOVES_BOTH);
    IS(before(was.st_ctim, now.st_ctim), changes[i].moves != MOVES_NONE);
    HOLDS(same(parent.st_mtim, status_of(".").st_mtim));
    HOLDS(same(parent.st_ctim, status_of(".").st_ctim));
  }
}

TEST(times_unmoved_by_failures) {
  OK(make_owned(REGULAR, "e", 0644, OWNER, STAFF));
  struct stat was = status_of("e");
  tick();
  AS(OTHER, GUESTS) {
    FAILS(EPERM, chmod("e", 0600));
    FAILS(EPERM, chown("e", OTHER, GUESTS));
    FAILS(EACCES, truncate("e", 0));
    FAILS(EACCES, open("e", O_WRONLY | O_TRUNC));
    FAILS(EACCES, setxattr("e", "user.name", "v", 1, 0));
    FAILS(EPERM, utimensat(AT_FDCWD, "e", (struct timespec[]){{1, 1}, {1, 1}}, 0));
  }
  HOLDS(same(was.st_ctim, status_of("e").st_ctim));
  HOLDS(same(was.st_mtim, status_of("e").st_mtim));
  HOLDS(same(was.st_atim, status_of("e").st_atim));
}

TEST(times_of_parents) {
  for (enum type type = REGULAR; type < TYPES; type++) {
    about("%s", type_names[type]);
    struct stat was = status_of(".");
    tick();
    OK(make(type, "e", 0644));
    HOLDS(before(was.st_mtim, status_of(".").st_mtim));
    HOLDS(before(was.st_ctim, status_of(".").st_ctim));
    was = status_of(".");
    tick();
    FAILS(EEXIST, mkdir("e", 0755));
    FAILS(type == DIRECTORY ? EISDIR : ENOTDIR, type == DIRECTORY ? unlink("e") : rmdir("e"));
    HOLDS(same(was.st_mtim, status_of(".").st_mtim));
    HOLDS(same(was.st_ctim, status_of(".").st_ctim));
    OK(destroy(type, "e"));
    HOLDS(before(was.st_mtim, status_of(".").st_mtim));
    HOLDS(before(was.st_ctim, status_of(".").st_ctim));
  }
  about("O_CREAT of an existing file");
  OK(put("e", "x"));
  struct stat was = status_of(".");
  tick();
  OK(put("e", "y"));
  HOLDS(same(was.st_mtim, status_of(".").st_mtim));
}

TEST(atime_moves_by_reading) {
  // relatime: an atime older than mtime moves.
  OK(put("e", "text"));
  struct timespec old[] = {at(1000, 0), at(2000, 0)};
  struct statvfs mount;
  OK(statvfs(".", &mount));
  bool relative = !(mount.f_flag & ST_NOATIME);
  OK(utimensat(AT_FDCWD, "e", old, 0));
  HOLDS(holds("e", "text"));
  if (relative) HOLDS(status_of("e").st_atim.tv_sec > 2000);
  IS(status_of("e").st_mtim.tv_sec, 2000);
  about("O_NOATIME");
  OK(utimensat(AT_FDCWD, "e", old, 0));
  int fd = (int)OK(open("e", O_RDONLY | O_NOATIME));
  char text[8];
  IS(read(fd, text, sizeof text), 4);
  IS(status_of("e").st_atim.tv_sec, 1000);
  close(fd);
  OK(chown("e", OWNER, STAFF));
  AS(OTHER, GUESTS) { FAILS(EPERM, open("e", O_RDONLY | O_NOATIME)); }
  AS(OWNER, STAFF) { OK(close(open("e", O_RDONLY | O_NOATIME))); }
  about("directory");
  OK(mkdir("d", 0755));
  OK(put("d/e", ""));
  OK(utimensat(AT_FDCWD, "d", old, 0));
  DIR *directory = opendir("d");
  while (readdir(directory)) continue;
  closedir(directory);
  if (relative) HOLDS(status_of("d").st_atim.tv_sec > 2000);
}
