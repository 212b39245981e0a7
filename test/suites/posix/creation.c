// SPDX-License-Identifier: MIT
//
// What a new entry looks like: owner, group, mode under every umask, sgid and default ACL of its parent,
// times, link counts; and O_TMPFILE.

#include "posix.h"

static int by_open(const char *path, mode_t mode) {
  int fd = open(path, O_CREAT | O_EXCL | O_RDWR, mode);
  return fd < 0 ? fd : close(fd);
}
static int by_tmpfile(const char *path, mode_t mode) {
  char link[64];
  int fd = open(".", O_TMPFILE | O_RDWR, mode);
  if (fd < 0) return fd;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  int result = linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
  close(fd);
  return result;
}
static int by_mkdir(const char *path, mode_t mode) { return mkdir(path, mode); }
static int by_mkfifo(const char *path, mode_t mode) { return mkfifo(path, mode); }
static int by_mknod(const char *path, mode_t mode) { return mknod(path, S_IFREG | mode, 0); }
static int by_socket(const char *path, mode_t mode) { return mknod(path, S_IFSOCK | mode, 0); }
static int by_symlink(const char *path, mode_t mode) {
  (void)mode;
  return symlink("nowhere", path);
}

static const struct way {
  const char *name;
  int (*create)(const char *path, mode_t mode);
  mode_t type;
} ways[] = {
    {"open", by_open, S_IFREG},     {"mkdir", by_mkdir, S_IFDIR},       {"mkfifo", by_mkfifo, S_IFIFO},
    {"mknod", by_mknod, S_IFREG},   {"mknod socket", by_socket, S_IFSOCK}, {"symlink", by_symlink, S_IFLNK},
    {"O_TMPFILE", by_tmpfile, S_IFREG},
};
#define EACH_WAY(way) for (const struct way *way = ways; way < ways + sizeof ways / sizeof *ways; way++)

static int discard(const char *path) { return unlink(path) && errno == EISDIR ? rmdir(path) : 0; }

TEST(creation_owner_and_group) {
  OK(mkdir("open", 0777));
  OK(chdir("open"));
  EACH_WAY(way) {
    about("%s", way->name);
    AS(OWNER, STAFF) { OK(way->create("e", 0755)); }
    struct stat status = status_of("e");
    IS(status.st_uid, OWNER);
    IS(status.st_gid, STAFF);
    IS(status.st_mode & S_IFMT, way->type);
    IS(status.st_nlink, way->type == S_IFDIR ? 2 : 1);
    OK(discard("e"));
    AS_MEMBER(OTHER, GUESTS, CREW) { OK(way->create("e", 0755)); }
    IS(status_of("e").st_gid, GUESTS);
    OK(discard("e"));
    OK(way->create("e", 0755));
    IS(status_of("e").st_uid, 0);
    IS(status_of("e").st_gid, 0);
    OK(discard("e"));
  }
}

TEST(creation_umask) {
  static const mode_t masks[] = {0, 0022, 0077, 0027, 0177, 0777, 0111, 0222, 0444, 0501};
  static const mode_t modes[] = {0777, 0666, 0644, 0600, 0751, 0000, 01777, 02755, 04755};
  OK(mkdir("open", 0777));
  OK(chdir("open"));
  EACH_WAY(way) {
    if (way->type == S_IFLNK) continue;
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
      for (size_t j = 0; j < sizeof modes / sizeof *modes; j++) {
        mode_t mode = modes[j];
        // mkdir takes the permissions and the sticky bit only.
        if (way->type == S_IFDIR) mode &= 01777;
        about("%s mode %#o umask %#o", way->name, modes[j], masks[i]);
        umask(masks[i]);
        AS(OWNER, STAFF) { OK(way->create("e", modes[j])); }
        umask(0);
        IS(mode_of("e"), mode & ~masks[i]);
        OK(discard("e"));
      }
    }
  }
}

TEST(creation_in_sgid_directory) {
  OK(make_owned(DIRECTORY, "d", 02777, THIRD, CREW));
  OK(chdir("d"));
  EACH_WAY(way) {
    about("%s", way->name);
    AS(OWNER, STAFF) { OK(way->create("e", 0755)); }
    IS(status_of("e").st_uid, OWNER);
    IS(status_of("e").st_gid, CREW);
    if (way->type != S_IFLNK) IS(mode_of("e"), way->type == S_IFDIR ? 02755 : 0755);
    OK(discard("e"));
    OK(way->create("e", 0755));
    IS(status_of("e").st_gid, CREW);
    OK(discard("e"));
    if (way->type == S_IFLNK || way->type == S_IFDIR) continue;
    about("%s, asking for sgid outside the directory's group", way->name);
    AS(OWNER, STAFF) { OK(way->create("e", 02755)); }
    IS(mode_of("e"), 0755);
    OK(discard("e"));
    about("%s, asking for sgid inside the directory's group", way->name);
    AS_MEMBER(OWNER, STAFF, CREW) { OK(way->create("e", 02755)); }
    IS(mode_of("e"), 02755);
    OK(discard("e"));
    about("%s, sgid without group execution", way->name);
    AS(OWNER, STAFF) { OK(way->create("e", 02745)); }
    IS(mode_of("e") & 0777, 0745);
    OK(discard("e"));
  }
  about("a tree of directories");
  AS(OWNER, STAFF) {
    OK(mkdir("a", 0777));
    OK(mkdir("a/b", 0777));
    OK(by_open("a/b/c", 0666));
  }
  IS(status_of("a/b").st_mode, S_IFDIR | 02777);
  IS(status_of("a/b/c").st_gid, CREW);
}

TEST(creation_device_nodes) {
  OK(mkdir("open", 0777));
  OK(chdir("open"));
  static const unsigned devices[][2] = {{1, 3}, {0, 0}, {255, 255}, {4095, 1048575}, {259, 70000}};
  for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
    about("%u:%u", devices[i][0], devices[i][1]);
    dev_t device = makedev(devices[i][0], devices[i][1]);
    OK(mknod("c", S_IFCHR | 0640, device));
    OK(mknod("b", S_IFBLK | 0604, device));
    IS(status_of("c").st_rdev, device);
    IS(status_of("c").st_mode, S_IFCHR | 0640);
    IS(status_of("b").st_rdev, device);
    IS(status_of("b").st_mode, S_IFBLK | 0604);
    OK(unlink("c"));
    OK(unlink("b"));
  }
  about("by an ordinary user");
  AS(OWNER, STAFF) {
    FAILS(EPERM, mknod("c", S_IFCHR | 0640, makedev(1, 3)));
    FAILS(EPERM, mknod("b", S_IFBLK | 0640, makedev(7, 0)));
    OK(mknod("f", S_IFIFO | 0640, 0));
    OK(mknod("s", S_IFSOCK | 0640, 0));
    OK(mknod("r", S_IFREG | 0640, 0));
    OK(mknod("z", 0640, 0));
  }
  IS(status_of("z").st_mode, S_IFREG | 0640);
  FAILS(EPERM, mknod("d", S_IFDIR | 0755, 0));
  FAILS(EINVAL, mknod("l", S_IFLNK | 0755, 0));
}

TEST(creation_times) {
  EACH_WAY(way) {
    about("%s", way->name);
    struct timespec start, parent = status_of(".").st_mtim;
    tick();
    clock_gettime(CLOCK_REALTIME_COARSE, &start);
    OK(way->create("e", 0755));
    struct stat status = status_of("e"), here = status_of(".");
    HOLDS(!before(status.st_atim, start));
    HOLDS(!before(status.st_mtim, start));
    HOLDS(!before(status.st_ctim, start));
    HOLDS(before(parent, here.st_mtim));
    HOLDS(before(parent, here.st_ctim));
    struct statx extended;
    OK(statx(AT_FDCWD, "e", AT_SYMLINK_NOFOLLOW, STATX_ALL, &extended));
    HOLDS(extended.stx_mask & STATX_BTIME);
    HOLDS(extended.stx_btime.tv_sec >= start.tv_sec);
    IS(extended.stx_ino, status.st_ino);
    IS(extended.stx_mode, status.st_mode);
    IS(extended.stx_nlink, status.st_nlink);
    OK(discard("e"));
  }
}

TEST(birth_time_never_changes) {
  OK(put("e", ""));
  struct statx was, now;
  OK(statx(AT_FDCWD, "e", 0, STATX_BTIME, &was));
  tick();
  OK(put("e", "longer"));
  OK(chmod("e", 0600));
  OK(rename("e", "f"));
  OK(utimensat(AT_FDCWD, "f", (struct timespec[]){{1, 0}, {1, 0}}, 0));
  OK(statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC, STATX_BTIME | STATX_MTIME, &now));
  HOLDS(now.stx_mask & STATX_BTIME);
  IS(now.stx_btime.tv_sec, was.stx_btime.tv_sec);
  IS(now.stx_btime.tv_nsec, was.stx_btime.tv_nsec);
  IS(now.stx_mtime.tv_sec, 1);
}

TEST(symlink_targets) {
  char target[PATH_MAX + 1], back[PATH_MAX + 1];
  static const int lengths[] = {1, 2, 59, 60, 61, 255, 256, 1023, 4094, 4095};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    about("%d bytes", lengths[i]);
    memset(target, 't', sizeof target);
    target[lengths[i]] = 0;
    OK(symlink(target, "link"));
    IS(status_of("link").st_size, lengths[i]);
    IS(readlink("link", back, sizeof back), lengths[i]);
    HOLDS(memcmp(back, target, (size_t)lengths[i]) == 0);
    IS(readlink("link", back, 1), 1);
    OK(unlink("link"));
  }
  about("no target");
  FAILS(ENOENT, symlink("", "link"));
  about("longer than a path");
  memset(target, 't', sizeof target);
  target[PATH_MAX] = 0;
  FAILS(ENAMETOOLONG, symlink(target, "link"));
  about("not a symlink");
  OK(put("file", ""));
  FAILS(EINVAL, readlink("file", back, sizeof back));
  FAILS(EINVAL, readlink(".", back, sizeof back));
  about("any bytes");
  OK(symlink("\xff\xfe /\n\t\\", "link"));
  IS(readlink("link", back, sizeof back), 7);
}

TEST(names_are_bytes) {
  static const char *const names[] = {" ", "...", "..a", "-", "\\", "\n", "\xff\xfe", "\xc3\xa4\xe2\x82\xac",
                                      "a b", "*", "\x01", "~", "'\"", "CON", "e\xcc\x81", "\xc3\xa9", "E", "e"};
  enum { COUNT = sizeof names / sizeof *names };
  for (int i = 0; i < COUNT; i++) OK(put(names[i], names[i]));
  for (int i = 0; i < COUNT; i++) HOLDS(holds(names[i], names[i]));
  DIR *directory = opendir(".");
  int found = 0;
  for (struct dirent *entry; (entry = readdir(directory));)
    for (int i = 0; i < COUNT; i++) found += !strcmp(entry->d_name, names[i]);
  closedir(directory);
  IS(found, COUNT);
}

TEST(tmpfile_has_no_name) {
  int fd = (int)OK(open(".", O_TMPFILE | O_RDWR, 0640));
  struct stat status;
  OK(fstat(fd, &status));
  IS(status.st_nlink, 0);
  IS(status.st_mode, S_IFREG | 0640);
  IS(write(fd, "text", 4), 4);
  OK(fstat(fd, &status));
  IS(status.st_size, 4);
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  OK(linkat(AT_FDCWD, link, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
  HOLDS(holds("named", "text"));
  IS(status_of("named").st_nlink, 1);
  IS(status_of("named").st_ino, status.st_ino);
  OK(fstat(fd, &status));
  IS(status.st_nlink, 1);
  OK(linkat(fd, "", AT_FDCWD, "again", AT_EMPTY_PATH));
  IS(status_of("named").st_nlink, 2);
  FAILS(EEXIST, linkat(AT_FDCWD, link, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
  about("O_EXCL");
  int exclusive = (int)OK(open(".", O_TMPFILE | O_RDWR | O_EXCL, 0600));
  snprintf(link, sizeof link, "/proc/self/fd/%d", exclusive);
  FAILS(ENOENT, linkat(AT_FDCWD, link, AT_FDCWD, "never", AT_SYMLINK_FOLLOW));
  about("wrong use");
  FAILS(EINVAL, open(".", O_TMPFILE | O_RDONLY, 0600));
  FAILS(ENOTDIR, open("named", O_TMPFILE | O_RDWR, 0600));
  OK(make_owned(DIRECTORY, "closed", 0755, OWNER, STAFF));
  AS(OTHER, GUESTS) { FAILS(EACCES, open("closed", O_TMPFILE | O_RDWR, 0600)); }
  about("many at once");
  int fds[50];
  for (int i = 0; i < 50; i++) {
    fds[i] = open(".", O_TMPFILE | O_RDWR, 0600);
    if (fds[i] < 0 || write(fds[i], &i, sizeof i) != sizeof i) break;
  }
  for (int i = 0, value; i < 50; i++) {
    IS(pread(fds[i], &value, sizeof value, 0) == sizeof value ? value : -1, i);
    close(fds[i]);
  }
}

TEST(directory_link_counts) {
  OK(mkdir("d", 0755));
  IS(status_of("d").st_nlink, 2);
  for (int i = 0; i < 20; i++) {
    char path[32];
    snprintf(path, sizeof path, "d/%d", i);
    OK(mkdir(path, 0755));
    IS(status_of("d").st_nlink, 3 + i);
  }
  OK(put("d/file", ""));
  IS(status_of("d").st_nlink, 22);
  OK(mkdir("other", 0755));
  OK(rename("d/0", "other/0"));
  IS(status_of("d").st_nlink, 21);
  IS(status_of("other").st_nlink, 3);
  OK(rename("d/1", "other/0"));
  IS(status_of("d").st_nlink, 20);
  IS(status_of("other").st_nlink, 3);
  OK(rmdir("d/2"));
  IS(status_of("d").st_nlink, 19);
}
