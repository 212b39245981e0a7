// SPDX-License-Identifier: MIT
//
// rename in all its cases, with each renameat2 flag.

#include "posix.h"

static int rename_with(const char *from, const char *to, unsigned flags) {
  return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

TEST(rename_every_type) {
  OK(mkdir("elsewhere", 0755));
  for (enum type type = REGULAR; type < TYPES; type++) {
    about("%s", type_names[type]);
    OK(make_owned(type, "a", 0640, OWNER, STAFF));
    struct stat was = status_of("a");
    OK(rename("a", "b"));
    FAILS(ENOENT, rename("a", "b"));
    struct stat now = status_of("b");
    IS(now.st_ino, was.st_ino);
    IS(now.st_mode, was.st_mode);
    IS(now.st_uid, OWNER);
    IS(now.st_rdev, was.st_rdev);
    OK(rename("b", "elsewhere/c"));
    IS(status_of("elsewhere/c").st_ino, was.st_ino);
    HOLDS(!exists("b"));
    OK(rename("elsewhere/c", "elsewhere/c"));
    OK(destroy(type, "elsewhere/c"));
  }
}

TEST(rename_over_every_type) {
  for (enum type from = REGULAR; from < TYPES; from++) {
    for (enum type to = REGULAR; to < TYPES; to++) {
      about("%s over %s", type_names[from], type_names[to]);
      OK(make(from, "a", 0644));
      OK(make(to, "b", 0600));
      struct stat was = status_of("a"), target = status_of("b");
      int expected = from == DIRECTORY && to != DIRECTORY ? ENOTDIR : from != DIRECTORY && to == DIRECTORY ? EISDIR : 0;
      FAILS(EEXIST, rename_with("a", "b", RENAME_NOREPLACE));
      IS(status_of("b").st_ino, target.st_ino);
      GIVES(expected, rename("a", "b"));
      IS(status_of("b").st_ino, expected ? target.st_ino : was.st_ino);
      IS(exists("a"), expected != 0);
      if (expected) OK(destroy(from, "a"));
      OK(destroy(expected ? to : from, "b"));
    }
  }
}

TEST(rename_exchange_every_type) {
  OK(mkdir("one", 0755));
  OK(mkdir("two", 0755));
  for (enum type first = REGULAR; first < TYPES; first++) {
    for (enum type second = REGULAR; second < TYPES; second++) {
      about("%s and %s", type_names[first], type_names[second]);
      OK(make(first, "one/a", 0644));
      OK(make(second, "two/b", 0600));
      struct stat a = status_of("one/a"), b = status_of("two/b");
      OK(rename_with("one/a", "two/b", RENAME_EXCHANGE));
      IS(status_of("one/a").st_ino, b.st_ino);
      IS(status_of("two/b").st_ino, a.st_ino);
      IS(status_of("one/a").st_mode, b.st_mode);
      IS(status_of("one").st_nlink, second == DIRECTORY ? 3 : 2);
      IS(status_of("two").st_nlink, first == DIRECTORY ? 3 : 2);
      OK(rename_with("one/a", "two/b", RENAME_EXCHANGE));
      IS(status_of("one/a").st_ino, a.st_ino);
      OK(destroy(first, "one/a"));
      OK(destroy(second, "two/b"));
    }
  }
}

TEST(rename_flags) {
  OK(put("a", "a"));
  OK(put("b", "b"));
  about("exchange");
  FAILS(ENOENT, rename_with("a", "missing", RENAME_EXCHANGE));
  FAILS(ENOENT, rename_with("missing", "a", RENAME_EXCHANGE));
  OK(rename_with("a", "b", RENAME_EXCHANGE));
  HOLDS(holds("a", "b") && holds("b", "a"));
  about("no replace");
  OK(rename_with("a", "c", RENAME_NOREPLACE));
  HOLDS(holds("c", "b"));
  HOLDS(!exists("a"));
  FAILS(EEXIST, rename_with("c", "b", RENAME_NOREPLACE));
  FAILS(EEXIST, rename_with("c", "c", RENAME_NOREPLACE));
  about("combinations");
  FAILS(EINVAL, rename_with("c", "b", RENAME_NOREPLACE | RENAME_EXCHANGE));
  FAILS(EINVAL, rename_with("c", "b", RENAME_WHITEOUT | RENAME_EXCHANGE));
  FAILS(EINVAL, rename_with("c", "b", 1 << 10));
  about("a directory and its child");
  OK(mkdir("d", 0755));
  OK(mkdir("d/e", 0755));
  FAILS(EINVAL, rename_with("d", "d/e", RENAME_EXCHANGE));
  FAILS_EITHER(EINVAL, ENOTEMPTY, rename_with("d/e", "d", RENAME_EXCHANGE));
}

TEST(rename_whiteout) {
  OK(mkdir("d", 0755));
  OK(put("d/a", "text"));
  OK(rename_with("d/a", "d/b", RENAME_WHITEOUT));
  HOLDS(holds("d/b", "text"));
  struct stat whiteout = status_of("d/a");
  IS(whiteout.st_mode & S_IFMT, S_IFCHR);
  IS(whiteout.st_rdev, makedev(0, 0));
  OK(unlink("d/a"));
  OK(put("d/c", "old"));
  FAILS(EEXIST, rename_with("d/b", "d/c", RENAME_WHITEOUT | RENAME_NOREPLACE));
  OK(rename_with("d/b", "d/c", RENAME_WHITEOUT));
  HOLDS(holds("d/c", "text"));
  IS(status_of("d/b").st_mode & S_IFMT, S_IFCHR);
}

TEST(rename_directories) {
  OK(mkdir("a", 0755));
  OK(mkdir("b", 0755));
  OK(put("b/file", ""));
  about("over a non-empty directory");
  FAILS(ENOTEMPTY, rename("a", "b"));
  OK(unlink("b/file"));
  about("over an empty directory");
  struct stat was = status_of("a");
  OK(rename("a", "b"));
  IS(status_of("b").st_ino, was.st_ino);
  about("into itself");
  FAILS(EINVAL, rename("b", "b/c"));
  OK(mkdir("b/c", 0755));
  FAILS(EINVAL, rename("b", "b/c/d"));
  FAILS(EINVAL, rename("b", "b/c"));
  about("over an ancestor");
  FAILS(ENOTEMPTY, rename("b/c", "b"));
  about("dots");
  FAILS(EBUSY, rename("b/.", "x"));
  FAILS(EBUSY, rename("b/..", "x"));
  FAILS(EBUSY, rename("b", "b/."));
  FAILS(EBUSY, rename("b/c", "."));
  about("with contents");
  OK(put("b/c/deep", "text"));
  int fd = (int)OK(open("b/c/deep", O_RDONLY));
  OK(mkdir("elsewhere", 0755));
  OK(rename("b", "elsewhere/moved"));
  HOLDS(holds("elsewhere/moved/c/deep", "text"));
  char byte;
  IS(read(fd, &byte, 1), 1);
  OK(put("elsewhere/moved/c/new", "text"));
  about(".. of a moved directory");
  IS(status_of("elsewhere/moved/..").st_ino, status_of("elsewhere").st_ino);
  OK(chdir("elsewhere/moved"));
  OK(rename("../moved", "../../back"));
  IS(status_of("..").st_ino, status_of("../back/..").st_ino);
  HOLDS(exists("../elsewhere"));
  OK(rename("c", "../c"));
  HOLDS(holds("../c/deep", "text"));
}

TEST(rename_of_hard_links_to_each_other) {
  OK(put("a", "text"));
  OK(link("a", "b"));
  OK(rename("a", "b"));
  HOLDS(exists("a") && exists("b"));
  IS(status_of("a").st_nlink, 2);
  OK(rename("a", "a"));
  HOLDS(holds("a", "text"));
  OK(rename_with("a", "b", RENAME_EXCHANGE));
  IS(status_of("b").st_nlink, 2);
}

TEST(rename_changes_link_counts_and_times) {
  OK(mkdir("from", 0755));
  OK(mkdir("to", 0755));
  OK(put("from/a", ""));
  OK(put("to/b", ""));
  OK(link("to/b", "kept"));
  struct stat from = status_of("from"), to = status_of("to"), kept = status_of("kept"), moved = status_of("from/a");
  tick();
  OK(rename("from/a", "to/b"));
  HOLDS(before(from.st_mtim, status_of("from").st_mtim));
  HOLDS(before(from.st_ctim, status_of("from").st_ctim));
  HOLDS(before(to.st_mtim, status_of("to").st_mtim));
  HOLDS(before(to.st_ctim, status_of("to").st_ctim));
  HOLDS(before(moved.st_ctim, status_of("to/b").st_ctim));
  HOLDS(same(moved.st_mtim, status_of("to/b").st_mtim));
  HOLDS(before(kept.st_ctim, status_of("kept").st_ctim));
  IS(status_of("kept").st_nlink, 1);
  about("failing");
  OK(mkdir("to/d", 0755));
  from = status_of("from"), to = status_of("to");
  tick();
  FAILS(EISDIR, rename("to/b", "to/d"));
  FAILS(ENOENT, rename("from/missing", "to/new"));
  HOLDS(same(from.st_mtim, status_of("from").st_mtim));
  HOLDS(same(to.st_mtim, status_of("to").st_mtim));
  HOLDS(same(to.st_ctim, status_of("to").st_ctim));
}

TEST(rename_permissions) {
  OK(make_owned(DIRECTORY, "mine", 0755, OWNER, STAFF));
  OK(make_owned(DIRECTORY, "theirs", 0755, OTHER, STAFF));
  OK(make_owned(REGULAR, "mine/file", 0, OTHER, GUESTS));
  OK(make_owned(REGULAR, "theirs/file", 0777, OWNER, STAFF));
  AS(OWNER, STAFF) {
    FAILS(EACCES, rename("mine/file", "theirs/new"));
    FAILS(EACCES, rename("theirs/file", "mine/new"));
    FAILS(EACCES, rename("theirs/file", "theirs/new"));
    FAILS(EACCES, rename_with("theirs/file", "mine/file", RENAME_EXCHANGE));
    OK(rename("mine/file", "mine/new"));
  }
  about("moving a directory of somebody else needs write permission on it");
  OK(make_owned(DIRECTORY, "to", 0777, OWNER, STAFF));
  OK(make_owned(DIRECTORY, "mine/d", 0755, OTHER, STAFF));
  AS(OWNER, STAFF) {
    FAILS(EACCES, rename("mine/d", "to/d"));
    OK(rename("mine/d", "mine/d2"));
  }
  OK(chmod("mine/d2", 0777));
  AS(OWNER, STAFF) { OK(rename("mine/d2", "to/d")); }
}

TEST(rename_keeps_open_paths_right) {
  // Names cached in one place must not come back to life after they moved.
  struct stat status;
  for (int i = 0; i < 30; i++) {
    about("round %d", i);
    OK(mkdir("a", 0755));
    OK(put("a/file", "a"));
    OK(mkdir("b", 0755));
    OK(put("b/file", "b"));
    OK(rename_with("a", "b", RENAME_EXCHANGE));
    HOLDS(holds("a/file", "b") && holds("b/file", "a"));
    OK(rename("a/file", "b/file"));
    FAILS(ENOENT, stat("a/file", &status));
    HOLDS(holds("b/file", "b"));
    OK(unlink("b/file"));
    OK(rename("a", "b"));
    FAILS(ENOENT, stat("a", &status));
    OK(rmdir("b"));
    FAILS(ENOENT, stat("b", &status));
  }
}
