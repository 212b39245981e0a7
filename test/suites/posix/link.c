// SPDX-License-Identifier: MIT
//
// Hard links.

#include "posix.h"

TEST(link_every_type) {
  for (enum type type = REGULAR; type < TYPES; type++) {
    about("%s", type_names[type]);
    OK(make_owned(type, "a", 0640, OWNER, STAFF));
    if (type == DIRECTORY) {
      FAILS(EPERM, link("a", "b"));
      AS(OWNER, STAFF) { FAILS(EACCES, link("a", "b")); }
      OK(rmdir("a"));
      continue;
    }
    struct stat was = status_of("a");
    OK(link("a", "b"));
    IS(status_of("b").st_ino, was.st_ino);
    IS(status_of("b").st_mode, was.st_mode);
    IS(status_of("a").st_nlink, 2);
    OK(link("b", "c"));
    IS(status_of("a").st_nlink, 3);
    OK(unlink("a"));
    IS(status_of("b").st_nlink, 2);
    IS(status_of("c").st_nlink, 2);
    OK(lchown("c", OTHER, GUESTS));
    IS(status_of("b").st_uid, OTHER);
    OK(unlink("b"));
    IS(status_of("c").st_nlink, 1);
    OK(unlink("c"));
  }
}

TEST(link_shares_data_and_attributes) {
  OK(mkdir("d", 0755));
  OK(put("a", "one"));
  OK(link("a", "d/b"));
  OK(put("d/b", "two!"));
  HOLDS(holds("a", "two!"));
  IS(status_of("a").st_size, 4);
  OK(chmod("a", 0600));
  IS(mode_of("d/b"), 0600);
  OK(setxattr("a", "user.name", "v", 1, 0));
  char value[8];
  IS(getxattr("d/b", "user.name", value, sizeof value), 1);
  OK(truncate("d/b", 1));
  IS(status_of("a").st_size, 1);
}

TEST(link_to_symlinks) {
  OK(put("file", ""));
  OK(symlink("file", "link"));
  OK(link("link", "same link"));
  IS(status_of("same link").st_mode & S_IFMT, S_IFLNK);
  IS(status_of("link").st_nlink, 2);
  OK(linkat(AT_FDCWD, "link", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW));
  IS(status_of("followed").st_ino, status_of("file").st_ino);
  OK(symlink("nowhere", "dangling"));
  FAILS(ENOENT, linkat(AT_FDCWD, "dangling", AT_FDCWD, "new", AT_SYMLINK_FOLLOW));
}

TEST(link_changes_times) {
  OK(mkdir("d", 0755));
  OK(put("a", ""));
  struct stat was = status_of("a"), parent = status_of("d");
  tick();
  OK(link("a", "d/b"));
  HOLDS(before(was.st_ctim, status_of("a").st_ctim));
  HOLDS(same(was.st_mtim, status_of("a").st_mtim));
  HOLDS(before(parent.st_mtim, status_of("d").st_mtim));
  HOLDS(before(parent.st_ctim, status_of("d").st_ctim));
  was = status_of("a"), parent = status_of("d");
  tick();
  FAILS(EEXIST, link("a", "d/b"));
  HOLDS(same(was.st_ctim, status_of("a").st_ctim));
  HOLDS(same(parent.st_mtim, status_of("d").st_mtim));
  tick();
  OK(unlink("d/b"));
  HOLDS(before(was.st_ctim, status_of("a").st_ctim));
  HOLDS(before(parent.st_mtim, status_of("d").st_mtim));
}

TEST(link_permissions) {
  OK(make_owned(DIRECTORY, "mine", 0755, OWNER, STAFF));
  OK(make_owned(DIRECTORY, "theirs", 0755, OTHER, STAFF));
  OK(make_owned(REGULAR, "mine/file", 0600, OWNER, STAFF));
  AS(OWNER, STAFF) {
    OK(link("mine/file", "mine/other"));
    FAILS(EACCES, link("mine/file", "theirs/new"));
  }
  OK(chmod("mine", 0700));
  AS(OTHER, STAFF) { FAILS(EACCES, link("mine/file", "theirs/new")); }
  OK(chmod("mine", 0755));
  if (kernel_protects("hardlinks")) {
    about("fs.protected_hardlinks");
    AS(OTHER, STAFF) { FAILS(EPERM, link("mine/file", "theirs/new")); }
  }
}

TEST(link_many) {
  OK(put("file", ""));
  char path[32];
  for (int i = 0; i < 500; i++) {
    snprintf(path, sizeof path, "link.%d", i);
    if (link("file", path)) break;
  }
  IS(status_of("file").st_nlink, 501);
  IS(status_of("link.499").st_nlink, 501);
  for (int i = 0; i < 500; i++) {
    snprintf(path, sizeof path, "link.%d", i);
    if (unlink(path)) break;
  }
  IS(status_of("file").st_nlink, 1);
}
