// SPDX-License-Identifier: MIT
//
// Files keep their identity: inode numbers, file handles that survive dropped caches, stale ones that are told.

#include "posix.h"

struct any_handle {
  struct file_handle handle;
  char room[MAX_HANDLE_SZ];
};

static int handle_of(const char *path, struct any_handle *any) {
  int mount_id;
  any->handle.handle_bytes = MAX_HANDLE_SZ;
  return name_to_handle_at(AT_FDCWD, path, &any->handle, &mount_id, 0);
}

static int opened(int mount, struct any_handle *any, int flags) {
  return open_by_handle_at(mount, &any->handle, flags);
}

TEST(inode_numbers_are_stable) {
  OK(mkdir("d", 0755));
  OK(put("d/e", "x"));
  ino_t directory = status_of("d").st_ino, file = status_of("d/e").st_ino;
  dev_t device = status_of("d/e").st_dev;
  drop_caches();
  IS(status_of("d").st_ino, directory);
  IS(status_of("d/e").st_ino, file);
  IS(status_of("d/e").st_dev, device);
  OK(rename("d", "moved"));
  drop_caches();
  IS(status_of("moved/e").st_ino, file);
  about("readdir agrees with stat");
  DIR *stream = opendir("moved");
  for (struct dirent *entry; (entry = readdir(stream));) {
    char path[300];
    snprintf(path, sizeof path, "moved/%s", entry->d_name);
    IS(entry->d_ino, status_of(path).st_ino);
  }
  closedir(stream);
}

TEST(handles_open_what_they_name) {
  struct any_handle file, directory, link;
  OK(mkdir("d", 0755));
  OK(put("d/e", "text"));
  OK(symlink("d/e", "link"));
  OK(handle_of("d/e", &file));
  OK(handle_of("d", &directory));
  OK(handle_of("link", &link));
  int mount = (int)OK(open(".", O_RDONLY));
  for (int round = 0; round < 2; round++) {
    about(round ? "after dropping caches" : "at once");
    if (round) drop_caches();
    char text[8] = {0};
    int fd = (int)OK(opened(mount, &file, O_RDONLY));
    IS(read(fd, text, sizeof text), 4);
    HOLDS(!strcmp(text, "text"));
    struct stat status;
    OK(fstat(fd, &status));
    IS(status.st_ino, status_of("d/e").st_ino);
    close(fd);
    fd = (int)OK(opened(mount, &directory, O_RDONLY | O_DIRECTORY));
    OK(fstatat(fd, "e", &status, 0));
    OK(fstatat(fd, "..", &status, 0));
    IS(status.st_ino, status_of(".").st_ino);
    close(fd);
    fd = (int)OK(opened(mount, &link, O_PATH | O_NOFOLLOW));
    IS(readlinkat(fd, "", text, sizeof text), 3);
    close(fd);
  }
  about("every name gives an equal handle");
  struct any_handle again;
  OK(rename("d/e", "d/f"));
  OK(handle_of("d/f", &again));
  IS(again.handle.handle_bytes, file.handle.handle_bytes);
  HOLDS(!memcmp(again.handle.f_handle, file.handle.f_handle, file.handle.handle_bytes));
  about("after moving it");
  OK(mkdir("elsewhere", 0755));
  OK(rename("d/f", "elsewhere/g"));
  drop_caches();
  int fd = (int)OK(opened(mount, &file, O_RDWR));
  IS(write(fd, "TEXT", 4), 4);
  close(fd);
  HOLDS(holds("elsewhere/g", "TEXT"));
  about("privilege");
  AS(OWNER, STAFF) { FAILS(EPERM, opened(mount, &file, O_RDONLY)); }
}

TEST(handles_deep_in_a_dropped_tree) {
  char path[256] = "a";
  OK(mkdir(path, 0755));
  for (int i = 0; i < 12; i++) {
    strcat(path, "/deeper");
    OK(mkdir(path, 0755));
  }
  struct any_handle any;
  OK(handle_of(path, &any));
  ino_t inode = status_of(path).st_ino;
  int mount = (int)OK(open(".", O_RDONLY));
  drop_caches();
  int fd = (int)OK(opened(mount, &any, O_RDONLY | O_DIRECTORY));
  struct stat status;
  OK(fstat(fd, &status));
  IS(status.st_ino, inode);
  OK(mkdirat(fd, "new", 0755));
  strcat(path, "/new");
  HOLDS(exists(path));
  OK(fchdir(fd));
  char here[PATH_MAX];
  HOLDS(getcwd(here, sizeof here) && strstr(here, "a/deeper/deeper/deeper"));
}

// Where closing is told to a server, the file may stay open there for a moment after close(2) has returned, and
// an open file can be opened by its handle, on ext4 as well. So the handle is given that moment to become stale.
static bool grows_stale(int mount, struct any_handle *any) {
  for (int i = 0; i < 500; i++) {
    int fd = opened(mount, any, O_RDONLY);
    if (fd < 0) return errno == ESTALE;
    close(fd);
    tick();
  }
  return false;
}

TEST(handles_of_deleted_files_are_stale) {
  struct any_handle any;
  int mount = (int)OK(open(".", O_RDONLY));
  for (int round = 0; round < 20; round++) {
    about("round %d", round);
    OK(put("e", "old"));
    OK(handle_of("e", &any));
    OK(unlink("e"));
    if (round % 10 == 0) drop_caches();
    HOLDS(grows_stale(mount, &any));
    // The inode number is likely to be used again at once; the generation tells old from new.
    OK(put("new", "new"));
    FAILS(ESTALE, opened(mount, &any, O_RDONLY));
    if (round % 10 == 0) drop_caches();
    FAILS(ESTALE, opened(mount, &any, O_RDONLY));
    OK(unlink("new"));
  }
  about("directory");
  OK(mkdir("d", 0755));
  OK(handle_of("d", &any));
  OK(rmdir("d"));
  OK(mkdir("d", 0755));
  drop_caches();
  FAILS(ESTALE, opened(mount, &any, O_RDONLY));
}

TEST(handles_of_open_deleted_files) {
  struct any_handle any;
  int mount = (int)OK(open(".", O_RDONLY)), fd = (int)OK(open("e", O_CREAT | O_RDWR, 0644));
  IS(write(fd, "text", 4), 4);
  OK(handle_of("e", &any));
  OK(unlink("e"));
  drop_caches();
  char text[8];
  IS(pread(fd, text, sizeof text, 0), 4);
  close(fd);
  drop_caches();
  HOLDS(grows_stale(mount, &any));
}

TEST(cold_caches_change_nothing) {
  OK(mkdir("d", 0755));
  char path[64], text[64];
  for (int i = 0; i < 50; i++) {
    snprintf(path, sizeof path, "d/file.%d", i);
    snprintf(text, sizeof text, "content %d", i);
    OK(put(path, text));
  }
  int held = (int)OK(open("d/file.0", O_RDWR)), directory = (int)OK(open("d", O_RDONLY));
  for (int round = 0; round < 3; round++) {
    about("round %d", round);
    drop_caches();
    for (int i = 0; i < 50; i++) {
      snprintf(path, sizeof path, "d/file.%d", i);
      snprintf(text, sizeof text, "content %d", i);
      HOLDS(holds(path, text));
    }
    IS(pread(held, text, sizeof text, 0), 9);
    struct stat status;
    OK(fstatat(directory, "file.7", &status, 0));
    IS(status.st_size, 9);
  }
}
