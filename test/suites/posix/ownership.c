// SPDX-License-Identifier: MIT
//
// chmod and chown: who may, what happens to suid, sgid and sticky, and which times move.

#include "posix.h"

TEST(chmod_sets_every_bit) {
  for (enum type type = REGULAR; type < SYMLINK; type++) {
    OK(make(type, "e", 0644));
    for (mode_t bit = 1; bit <= 04000; bit <<= 1) {
      about("%s mode %#o", type_names[type], bit);
      OK(chmod("e", bit));
      IS(status_of("e").st_mode, type_modes[type] | bit);
    }
    about("%s", type_names[type]);
    OK(chmod("e", 07777));
    IS(mode_of("e"), 07777);
    OK(chmod("e", 0));
    IS(mode_of("e"), 0);
    OK(fchmodat(AT_FDCWD, "e", 0640, 0));
    IS(mode_of("e"), 0640);
    OK(destroy(type, "e"));
  }
  OK(put("file", ""));
  int fd = (int)OK(open("file", O_RDONLY));
  OK(fchmod(fd, 04711));
  IS(mode_of("file"), 04711);
  OK(unlink("file"));
  OK(fchmod(fd, 0600));
  struct stat status;
  OK(fstat(fd, &status));
  IS(status.st_mode, S_IFREG | 0600);
}

TEST(chmod_follows_symlinks) {
  OK(put("file", ""));
  OK(symlink("file", "link"));
  OK(chmod("link", 0600));
  IS(mode_of("file"), 0600);
  IS(mode_of("link"), 0777);
}

TEST(chmod_needs_the_owner) {
  for (enum type type = REGULAR; type < SYMLINK; type++) {
    about("%s", type_names[type]);
    OK(make_owned(type, "e", 0644, OWNER, STAFF));
    AS(OTHER, GUESTS) { FAILS(EPERM, chmod("e", 0600)); }
    AS(OTHER, STAFF) { FAILS(EPERM, chmod("e", 0600)); }
    AS_MEMBER(OTHER, GUESTS, STAFF) { FAILS(EPERM, chmod("e", 0600)); }
    IS(mode_of("e"), 0644);
    AS(OWNER, GUESTS) { OK(chmod("e", 0600)); }
    IS(mode_of("e"), 0600);
    OK(chmod("e", 0640));
    IS(mode_of("e"), 0640);
    OK(destroy(type, "e"));
  }
}

TEST(chmod_takes_sgid_from_callers_outside_the_group) {
  for (enum type type = REGULAR; type <= DIRECTORY; type++) {
    about("%s", type_names[type]);
    OK(make_owned(type, "e", 0755, OWNER, STAFF));
    AS(OWNER, STAFF) { OK(chmod("e", 02755)); }
    IS(mode_of("e"), 02755);
    AS_MEMBER(OWNER, GUESTS, STAFF) { OK(chmod("e", 02750)); }
    IS(mode_of("e"), 02750);
    AS(OWNER, GUESTS) { OK(chmod("e", 06755)); }
    IS(mode_of("e"), 04755);
    AS_MEMBER(OWNER, GUESTS, CREW) { OK(chmod("e", 02711)); }
    IS(mode_of("e"), 0711);
    OK(chmod("e", 06755));
    IS(mode_of("e"), 06755);
    OK(destroy(type, "e"));
  }
}

TEST(chmod_sticky_on_files_of_ordinary_users) {
  OK(make_owned(REGULAR, "file", 0644, OWNER, STAFF));
  AS(OWNER, STAFF) { OK(chmod("file", 01644)); }  // Linux lets anyone set it on his file
  IS(mode_of("file"), 01644);
  OK(make_owned(DIRECTORY, "directory", 0755, OWNER, STAFF));
  AS(OWNER, STAFF) { OK(chmod("directory", 01777)); }
  IS(mode_of("directory"), 01777);
}

TEST(chown_by_root) {
  for (enum type type = REGULAR; type < TYPES; type++) {
    about("%s", type_names[type]);
    OK(make(type, "e", 0644));
    OK(lchown("e", OWNER, STAFF));
    IS(status_of("e").st_uid, OWNER);
    IS(status_of("e").st_gid, STAFF);
    OK(lchown("e", (uid_t)-1, GUESTS));
    IS(status_of("e").st_uid, OWNER);
    IS(status_of("e").st_gid, GUESTS);
    OK(lchown("e", OTHER, (gid_t)-1));
    IS(status_of("e").st_uid, OTHER);
    IS(status_of("e").st_gid, GUESTS);
    OK(lchown("e", (uid_t)-2, (gid_t)-2));
    IS(status_of("e").st_uid, (uid_t)-2);
    IS(status_of("e").st_gid, (gid_t)-2);
    OK(lchown("e", 0, 0));
    IS(status_of("e").st_uid, 0);
    OK(destroy(type, "e"));
  }
}

TEST(chown_follows_symlinks_and_lchown_does_not) {
  OK(put("file", ""));
  OK(symlink("file", "link"));
  OK(chown("link", OWNER, STAFF));
  IS(status_of("file").st_uid, OWNER);
  IS(status_of("link").st_uid, 0);
  OK(lchown("link", OTHER, GUESTS));
  IS(status_of("file").st_uid, OWNER);
  IS(status_of("link").st_uid, OTHER);
  IS(status_of("link").st_gid, GUESTS);
  int fd = (int)OK(open("file", O_RDONLY));
  OK(fchown(fd, THIRD, CREW));
  IS(status_of("file").st_uid, THIRD);
  IS(status_of("file").st_gid, CREW);
  int path_fd = (int)OK(open("link", O_PATH | O_NOFOLLOW));
  OK(fchownat(path_fd, "", OWNER, STAFF, AT_EMPTY_PATH));
  IS(status_of("link").st_uid, OWNER);
}

TEST(chown_needs_privilege) {
  for (enum type type = REGULAR; type < TYPES; type++) {
    OK(make_owned(type, "e", 0644, OWNER, STAFF));
    about("%s as owner", type_names[type]);
    AS_MEMBER(OWNER, STAFF, CREW) {
      FAILS(EPERM, lchown("e", OTHER, (gid_t)-1));
      FAILS(EPERM, lchown("e", OTHER, CREW));
      FAILS(EPERM, lchown("e", (uid_t)-1, GUESTS));
      FAILS(EPERM, lchown("e", OWNER, GUESTS));
      OK(lchown("e", (uid_t)-1, (gid_t)-1));
      OK(lchown("e", OWNER, (gid_t)-1));
      OK(lchown("e", (uid_t)-1, CREW));
    }
    IS(status_of("e").st_gid, CREW);
    AS_MEMBER(OWNER, STAFF, CREW) { OK(lchown("e", OWNER, STAFF)); }
    IS(status_of("e").st_gid, STAFF);
    about("%s as another", type_names[type]);
    AS_MEMBER(OTHER, STAFF, CREW) {
      FAILS(EPERM, lchown("e", OTHER, (gid_t)-1));
      FAILS(EPERM, lchown("e", (uid_t)-1, STAFF));
      FAILS(EPERM, lchown("e", (uid_t)-1, CREW));
      OK(lchown("e", (uid_t)-1, (gid_t)-1));
    }
    IS(status_of("e").st_uid, OWNER);
    OK(destroy(type, "e"));
  }
}

TEST(chown_takes_suid_and_sgid) {
  static const struct {
    const char *how;
    uid_t caller, uid;
    gid_t gid;
  } ways[] = {
      {"root gives it away", 0, OTHER, GUESTS},
      {"root keeps all", 0, OWNER, STAFF},
      {"root chown(-1, -1)", 0, (uid_t)-1, (gid_t)-1},
      {"owner changes the group", OWNER, (uid_t)-1, CREW},
      {"owner keeps the group", OWNER, OWNER, STAFF},
      {"owner chown(-1, -1)", OWNER, (uid_t)-1, (gid_t)-1},
  };
  // suid always goes; sgid goes where the group may execute, and otherwise (it meant mandatory locking)
  // unless the caller is in the group or has CAP_FSETID.
  static const mode_t modes[] = {04755, 02755, 06755, 06555, 04644, 06711, 07755};
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    for (size_t j = 0; j < sizeof modes / sizeof *modes; j++) {
      about("%s of mode %#o", ways[i].how, modes[j]);
      OK(make_owned(REGULAR, "e", modes[j], OWNER, STAFF));
      AS_MEMBER(ways[i].caller, ways[i].caller ? STAFF : 0, CREW) { OK(chown("e", ways[i].uid, ways[i].gid)); }
      IS(mode_of("e"), modes[j] & ~(mode_t)(S_ISUID | S_ISGID));
      OK(unlink("e"));
    }
    about("%s of a directory", ways[i].how);
    OK(make_owned(DIRECTORY, "d", 06755, OWNER, STAFF));
    AS_MEMBER(ways[i].caller, ways[i].caller ? STAFF : 0, CREW) { OK(chown("d", ways[i].uid, ways[i].gid)); }
    IS(mode_of("d"), 06755);
    OK(rmdir("d"));
  }
  about("sgid without group execution stays for a member");
  OK(make_owned(REGULAR, "e", 02644, OWNER, STAFF));
  AS(OWNER, STAFF) { OK(chown("e", OWNER, STAFF)); }
  IS(mode_of("e"), 02644);
  about("failed chown");
  OK(chmod("e", 06755));
  AS(OWNER, STAFF) { FAILS(EPERM, chown("e", OTHER, (gid_t)-1)); }
  IS(mode_of("e"), 06755);
}

// Every way of changing a file's data takes suid, and sgid where the group may execute, from an ordinary
// caller's file; root with CAP_FSETID keeps them.
static int by_write(const char *path) {
  int fd = open(path, O_WRONLY);
  ssize_t length = fd < 0 ? -1 : write(fd, "x", 1);
  if (fd >= 0) close(fd);
  return length == 1 ? 0 : -1;
}
static int by_pwrite(const char *path) {
  int fd = open(path, O_RDWR);
  ssize_t length = fd < 0 ? -1 : pwrite(fd, "x", 1, 8192);
  if (fd >= 0) close(fd);
  return length == 1 ? 0 : -1;
}
static int by_append(const char *path) {
  int fd = open(path, O_WRONLY | O_APPEND);
  ssize_t length = fd < 0 ? -1 : write(fd, "x", 1);
  if (fd >= 0) close(fd);
  return length == 1 ? 0 : -1;
}
static int by_truncate(const char *path) { return truncate(path, 1); }
static int by_growing(const char *path) { return truncate(path, 100); }
static int by_ftruncate(const char *path) {
  int fd = open(path, O_WRONLY);
  int result = fd < 0 ? -1 : ftruncate(fd, 1);
  if (fd >= 0) close(fd);
  return result;
}
static int by_o_trunc(const char *path) {
  int fd = open(path, O_WRONLY | O_TRUNC);
  return fd < 0 ? -1 : close(fd);
}
static int by_fallocate(const char *path) {
  int fd = open(path, O_WRONLY);
  int result = fd < 0 ? -1 : fallocate(fd, 0, 0, 5000);
  if (fd >= 0) close(fd);
  return result;
}
static int by_punching(const char *path) {
  int fd = open(path, O_WRONLY);
  int result = fd < 0 ? -1 : fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096);
  if (fd >= 0) close(fd);
  return result;
}
static int by_copy_file_range(const char *path) {
  int fd = open(path, O_WRONLY), source = open("source", O_RDONLY);
  ssize_t length = fd < 0 || source < 0 ? -1 : copy_file_range(source, NULL, fd, NULL, 4, 0);
  if (fd >= 0) close(fd);
  if (source >= 0) close(source);
  return length == 4 ? 0 : -1;
}

static const struct {
  const char *name;
  int (*change)(const char *path);
} changes[] = {
    {"write", by_write},         {"pwrite", by_pwrite},       {"O_APPEND write", by_append},
    {"truncate", by_truncate},   {"growing", by_growing},     {"ftruncate", by_ftruncate},
    {"O_TRUNC", by_o_trunc},     {"fallocate", by_fallocate}, {"punch hole", by_punching},
    {"copy_file_range", by_copy_file_range},
};

TEST(data_changes_take_suid_and_sgid) {
  OK(put("source", "text"));
  // The last column: what is left for a caller without CAP_FSETID who is not in the file's group.
  static const mode_t modes[][2] = {{04777, 0777}, {02777, 0777}, {06777, 0777}, {06766, 02766}, {0666, 0666}};
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    for (size_t j = 0; j < sizeof modes / sizeof *modes; j++) {
      mode_t mode = modes[j][0], left = modes[j][1];
      // Since Linux 6.2 sgid without group execution goes as well for a caller outside the group.
      mode_t outside = mode & S_ISGID ? left & ~(mode_t)S_ISGID : left;
      about("%s on mode %#o by the owner, in the group", changes[i].name, mode);
      OK(make_owned(REGULAR, "e", mode, OWNER, STAFF));
      AS(OWNER, STAFF) { OK(changes[i].change("e")); }
      IS(mode_of("e"), left);
      OK(chmod("e", mode));
      about("%s on mode %#o by another, outside the group", changes[i].name, mode);
      AS(OTHER, GUESTS) { OK(changes[i].change("e")); }
      IS(mode_of("e"), outside);
      OK(chmod("e", mode));
      about("%s on mode %#o by root", changes[i].name, mode);
      OK(changes[i].change("e"));
      IS(mode_of("e"), mode);
      OK(unlink("e"));
    }
  }
}

TEST(data_changes_take_capabilities) {
  // VFS_CAP_REVISION_2 with CAP_NET_RAW, as `setcap cap_net_raw+ep` writes it.
  static const unsigned char capability[20] = {1, 0, 0, 2, 0, 0x20};
  OK(put("source", "text"));
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    for (int caller = 0; caller < 2; caller++) {
      char value[64];
      about("%s by %s", changes[i].name, caller ? "the owner" : "root");
      OK(make_owned(REGULAR, "e", 0755, OWNER, STAFF));
      OK(setxattr("e", "security.capability", capability, sizeof capability, 0));
      IS(getxattr("e", "security.capability", value, sizeof value), 20);
      AS(caller ? OWNER : 0, caller ? STAFF : 0) { OK(changes[i].change("e")); }
      FAILS(ENODATA, getxattr("e", "security.capability", value, sizeof value));
      OK(unlink("e"));
    }
  }
  char value[64];
  about("chown");
  OK(put("e", ""));
  OK(setxattr("e", "security.capability", capability, sizeof capability, 0));
  OK(chown("e", OWNER, STAFF));
  FAILS(ENODATA, getxattr("e", "security.capability", value, sizeof value));
  about("chmod");
  OK(setxattr("e", "security.capability", capability, sizeof capability, 0));
  OK(chmod("e", 0700));
  IS(getxattr("e", "security.capability", value, sizeof value), 20);
  AS(OWNER, STAFF) { FAILS(EPERM, setxattr("e", "security.capability", capability, sizeof capability, 0)); }
}
