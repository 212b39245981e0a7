// SPDX-License-Identifier: MIT
//
// Reading directories: large ones, while they change, from remembered positions; and watching them.

#include "posix.h"

#include <poll.h>
#include <sys/inotify.h>

TEST(readdir_types) {
  for (enum type type = REGULAR; type < TYPES; type++) OK(make(type, type_names[type], 0644));
  DIR *directory = opendir(".");
  int found = 0;
  for (struct dirent *entry; (entry = readdir(directory));) {
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) {
      IS(entry->d_type, DT_DIR);
      continue;
    }
    for (enum type type = REGULAR; type < TYPES; type++) {
      if (strcmp(entry->d_name, type_names[type])) continue;
      found++;
      IS(DTTOIF(entry->d_type), type_modes[type]);
      IS(entry->d_ino, status_of(entry->d_name).st_ino);
    }
  }
  IS(found, TYPES);
  closedir(directory);
}

TEST(readdir_of_an_empty_directory) {
  OK(mkdir("d", 0755));
  DIR *directory = opendir("d");
  int entries = 0;
  while (readdir(directory)) entries++;
  IS(entries, 2);
  IS(errno, 0);
  rewinddir(directory);
  OK(put("d/new", ""));
  rewinddir(directory);
  entries = 0;
  while (readdir(directory)) entries++;
  IS(entries, 3);
  closedir(directory);
}

enum { MANY = 20000 };

TEST(readdir_while_the_directory_changes) {
  static unsigned char seen[MANY];
  static char path[64];
  OK(mkdir("d", 0755));
  int fd = (int)OK(open("d", O_RDONLY | O_DIRECTORY));
  int created = 0;
  for (int i = 0; i < MANY; i++) {
    snprintf(path, sizeof path, "kept.%d", i);
    created += mknodat(fd, path, S_IFREG | 0644, 0) == 0;
  }
  IS(created, MANY);
  // While one process creates and deletes others, every kept name must be read exactly once.
  pid_t child = fork();
  if (child == 0) {
    for (int round = 0;; round++) {
      for (int i = 0; i < 300; i++) {
        snprintf(path, sizeof path, "passing.%d.%d", round, i);
        if (mknodat(fd, path, S_IFREG | 0644, 0)) _exit(1);
      }
      for (int i = 0; i < 300; i++) {
        snprintf(path, sizeof path, "passing.%d.%d", round, i);
        if (unlinkat(fd, path, 0)) _exit(2);
      }
    }
  }
  for (int round = 0; round < 3; round++) {
    memset(seen, 0, sizeof seen);
    DIR *directory = opendir("d");
    int once = 0, doubled = 0, number;
    for (struct dirent *entry; (entry = readdir(directory));)
      if (sscanf(entry->d_name, "kept.%d", &number) == 1) seen[number]++;
    closedir(directory);
    for (int i = 0; i < MANY; i++) once += seen[i] == 1, doubled += seen[i] > 1;
    about("round %d", round);
    IS(once, MANY);
    IS(doubled, 0);
  }
  kill(child, SIGKILL);
  IS(exit_status(child), 128 + SIGKILL);
  about("deleting while reading");
  DIR *directory = opendir("d");
  int deleted = 0;
  for (struct dirent *entry; (entry = readdir(directory));)
    if (entry->d_name[0] != '.') deleted += unlinkat(fd, entry->d_name, 0) == 0;
  closedir(directory);
  HOLDS(deleted >= MANY);
  OK(rmdir("d"));
}

TEST(readdir_positions) {
  enum { ENTRIES = 3000 };
  static struct {
    long position;
    char name[32];
  } log[ENTRIES + 2];
  char path[64];
  OK(mkdir("d", 0755));
  for (int i = 0; i < ENTRIES; i++) {
    snprintf(path, sizeof path, "d/entry.%d", i);
    if (mknod(path, S_IFREG | 0644, 0)) break;
  }
  DIR *directory = opendir("d");
  int count = 0;
  for (;;) {
    long position = telldir(directory);
    struct dirent *entry = readdir(directory);
    if (!entry || count == ENTRIES + 2) break;
    log[count].position = position;
    snprintf(log[count++].name, sizeof log->name, "%.31s", entry->d_name);
  }
  IS(count, ENTRIES + 2);
  for (int i = 0; i < 300; i++) {
    int at = (i * 7919) % count;
    about("position of entry %d", at);
    seekdir(directory, log[at].position);
    struct dirent *entry = readdir(directory);
    HOLDS(entry && !strcmp(entry->d_name, log[at].name));
  }
  about("positions outlive deletions, in a new stream as well");
  for (int i = 0; i < count; i += 2)
    if (log[i].name[0] == 'e') {
      snprintf(path, sizeof path, "d/%s", log[i].name);
      unlink(path);
    }
  DIR *second = opendir("d");
  int wrong = 0;
  for (int i = 1; i < count - 1; i += 2) {
    if (log[i].name[0] != 'e') continue;
    seekdir(second, log[i].position);
    struct dirent *entry = readdir(second);
    wrong += !entry || strcmp(entry->d_name, log[i].name);
  }
  IS(wrong, 0);
  closedir(second);
  rewinddir(directory);
  int left = 0;
  while (readdir(directory)) left++;
  HOLDS(left >= ENTRIES / 2 && left <= ENTRIES / 2 + 3);
  closedir(directory);
}

TEST(readdir_with_long_names) {
  char name[256];
  for (int i = 0; i < 200; i++) {
    memset(name, 'a' + i % 26, 255);
    name[255] = 0;
    snprintf(name, 8, "%07d", i);
    name[7] = '-';
    OK(mknod(name, S_IFREG | 0644, 0));
  }
  DIR *directory = opendir(".");
  int found = 0;
  for (struct dirent *entry; (entry = readdir(directory));) found += strlen(entry->d_name) == 255;
  closedir(directory);
  IS(found, 200);
}

TEST(readdir_shared_position) {
  for (int i = 0; i < 100; i++) {
    char path[32];
    snprintf(path, sizeof path, "e.%d", i);
    OK(put(path, ""));
  }
  int fd = (int)OK(open(".", O_RDONLY | O_DIRECTORY));
  char buffer[512];
  long length, entries = 0;
  // Small buffers, so that the kernel must keep the place between calls.
  while ((length = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
    for (long at = 0; at < length; at += *(unsigned short *)(buffer + at + 16)) entries++;
  IS(length, 0);
  IS(entries, 102);
  OK(lseek(fd, 0, SEEK_SET));
  FAILS(EINVAL, syscall(SYS_getdents64, fd, buffer, 8));
  OK(lseek(fd, 0, SEEK_SET));
  IS(syscall(SYS_getdents64, fd, buffer, sizeof buffer) > 0, 1);
}

TEST(many_processes_in_one_directory) {
  enum { PROCESSES = 4, FILES = 150 };
  pid_t children[PROCESSES];
  for (int i = 0; i < PROCESSES; i++) {
    children[i] = fork();
    if (children[i]) continue;
    char path[64], other[64];
    for (int j = 0; j < FILES; j++) {
      snprintf(path, sizeof path, "p%d.%d", i, j);
      snprintf(other, sizeof other, "p%d.%d.renamed", i, j);
      if (put(path, path)) _exit(1);
      if (rename(path, other)) _exit(2);
      if (!holds(other, path)) _exit(3);
      if (link(other, path)) _exit(4);
      if (unlink(other)) _exit(5);
      if (j % 2 && unlink(path)) _exit(6);
    }
    _exit(0);
  }
  for (int i = 0; i < PROCESSES; i++) IS(exit_status(children[i]), 0);
  DIR *directory = opendir(".");
  int left = 0;
  for (struct dirent *entry; (entry = readdir(directory));) left += entry->d_name[0] == 'p';
  closedir(directory);
  IS(left, PROCESSES * FILES / 2);
}

// Reads events until one has this mask and name (NULL: any), or none is left.
static bool event(int fd, uint32_t mask, const char *name) {
  static char buffer[8192];
  static ssize_t length, at;
  for (;;) {
    if (at >= length) {
      struct pollfd wait = {fd, POLLIN, 0};
      if (poll(&wait, 1, 0) != 1) return false;
      length = read(fd, buffer, sizeof buffer);
      at = 0;
      if (length <= 0) return false;
    }
    struct inotify_event *next = (struct inotify_event *)(buffer + at);
    at += (ssize_t)(sizeof *next + next->len);
    if ((next->mask & mask) && (!name || !strcmp(next->len ? next->name : "", name))) return true;
  }
}

TEST(inotify_events) {
  OK(mkdir("d", 0755));
  int fd = (int)OK(inotify_init1(IN_NONBLOCK));
  OK(inotify_add_watch(fd, "d", IN_ALL_EVENTS));
  OK(put("d/a", "text"));
  HOLDS(event(fd, IN_CREATE, "a"));
  HOLDS(event(fd, IN_OPEN, "a"));
  HOLDS(event(fd, IN_MODIFY, "a"));
  HOLDS(event(fd, IN_CLOSE_WRITE, "a"));
  OK(chmod("d/a", 0600));
  HOLDS(event(fd, IN_ATTRIB, "a"));
  HOLDS(holds("d/a", "text"));
  HOLDS(event(fd, IN_ACCESS, "a"));
  HOLDS(event(fd, IN_CLOSE_NOWRITE, "a"));
  OK(rename("d/a", "d/b"));
  HOLDS(event(fd, IN_MOVED_FROM, "a"));
  HOLDS(event(fd, IN_MOVED_TO, "b"));
  OK(mkdir("d/inner", 0755));
  HOLDS(event(fd, IN_CREATE, "inner"));
  OK(symlink("x", "d/link"));
  HOLDS(event(fd, IN_CREATE, "link"));
  OK(link("d/b", "d/c"));
  HOLDS(event(fd, IN_CREATE, "c"));
  OK(unlink("d/b"));
  HOLDS(event(fd, IN_DELETE, "b"));
  OK(truncate("d/c", 0));
  HOLDS(event(fd, IN_MODIFY, "c"));
  OK(rmdir("d/inner"));
  HOLDS(event(fd, IN_DELETE, "inner"));
  OK(unlink("d/c"));
  OK(unlink("d/link"));
  OK(rmdir("d"));
  HOLDS(event(fd, IN_DELETE_SELF, NULL));
}
