// SPDX-License-Identifier: MIT
//
// Extended attributes in every namespace, and POSIX ACLs: stored, inherited, obeyed.

#include "posix.h"

TEST(xattr_life) {
  char value[70000], list[256];
  OK(put("file", ""));
  OK(mkdir("directory", 0755));
  static const char *const paths[] = {"file", "directory"};
  for (int i = 0; i < 2; i++) {
    const char *path = paths[i];
    about("%s", path);
    IS(listxattr(path, list, sizeof list), 0);
    FAILS(ENODATA, getxattr(path, "user.a", value, sizeof value));
    FAILS(ENODATA, removexattr(path, "user.a"));
    FAILS(ENODATA, setxattr(path, "user.a", "x", 1, XATTR_REPLACE));
    OK(setxattr(path, "user.a", "one", 3, XATTR_CREATE));
    FAILS(EEXIST, setxattr(path, "user.a", "two", 3, XATTR_CREATE));
    OK(setxattr(path, "user.a", "three", 5, XATTR_REPLACE));
    IS(getxattr(path, "user.a", NULL, 0), 5);
    IS(getxattr(path, "user.a", value, sizeof value), 5);
    HOLDS(!memcmp(value, "three", 5));
    FAILS(ERANGE, getxattr(path, "user.a", value, 4));
    OK(setxattr(path, "user.empty", "", 0, 0));
    IS(getxattr(path, "user.empty", value, sizeof value), 0);
    OK(setxattr(path, "user.bytes", "\0\xff\0", 3, 0));
    IS(getxattr(path, "user.bytes", value, sizeof value), 3);
    HOLDS(!memcmp(value, "\0\xff\0", 3));
    IS(listxattr(path, NULL, 0), 29);
    IS(listxattr(path, list, sizeof list), 29);
    HOLDS(memmem(list, 29, "user.a", 7) && memmem(list, 29, "user.empty", 11) && memmem(list, 29, "user.bytes", 11));
    FAILS(ERANGE, listxattr(path, list, 28));
    OK(removexattr(path, "user.empty"));
    FAILS(ENODATA, getxattr(path, "user.empty", value, sizeof value));
    memset(value, 'v', sizeof value);
    OK(setxattr(path, "user.big", value, 2000, 0));
    memset(value, 0, sizeof value);
    IS(getxattr(path, "user.big", value, sizeof value), 2000);
    IS(value[1999], 'v');
    FAILS(E2BIG, setxattr(path, "user.huge", value, 65537, 0));
    OK(removexattr(path, "user.big"));
  }
  about("names");
  char name[300] = "user.";
  memset(name + 5, 'n', 250);
  OK(setxattr("file", name, "v", 1, 0));
  IS(getxattr("file", name, value, sizeof value), 1);
  name[255] = 'n';
  FAILS(ERANGE, setxattr("file", name, "v", 1, 0));
  FAILS_EITHER(EINVAL, ERANGE, setxattr("file", "user.", "v", 1, 0));
  FAILS(EOPNOTSUPP, setxattr("file", "nonsense.name", "v", 1, 0));
  FAILS(EOPNOTSUPP, setxattr("file", "noprefix", "v", 1, 0));
  FAILS(EINVAL, setxattr("file", "user.a", "v", 1, 77));
  about("by descriptor");
  int fd = (int)OK(open("file", O_RDONLY));
  OK(fsetxattr(fd, "user.fd", "v", 1, 0));
  IS(fgetxattr(fd, "user.fd", value, sizeof value), 1);
  HOLDS(flistxattr(fd, NULL, 0) > 0);
  OK(fremovexattr(fd, "user.fd"));
}

TEST(xattr_user_namespace_on_special_files) {
  for (enum type type = REGULAR; type < TYPES; type++) {
    about("%s", type_names[type]);
    OK(make(type, "e", 0666));
    int expected = type == REGULAR || type == DIRECTORY ? 0 : EPERM;
    // Sockets may have them since Linux 7.
    if (type != SOCKET) GIVES(expected, lsetxattr("e", "user.name", "v", 1, 0));
    OK(lsetxattr("e", "trusted.name", "v", 1, 0));
    char value[8];
    IS(lgetxattr("e", "trusted.name", value, sizeof value), 1);
    OK(lremovexattr("e", "trusted.name"));
    OK(destroy(type, "e"));
  }
}

TEST(xattr_permissions) {
  char value[64], list[256];
  OK(make_owned(REGULAR, "e", 0640, OWNER, STAFF));
  OK(setxattr("e", "user.name", "v", 1, 0));
  OK(setxattr("e", "trusted.name", "v", 1, 0));
  AS(OWNER, STAFF) {
    OK(setxattr("e", "user.mine", "v", 1, 0));
    IS(getxattr("e", "user.name", value, sizeof value), 1);
    FAILS(EPERM, setxattr("e", "trusted.name", "w", 1, 0));
    FAILS(ENODATA, getxattr("e", "trusted.name", value, sizeof value));
    FAILS(EPERM, removexattr("e", "trusted.name"));
    FAILS(EPERM, setxattr("e", "security.name", "w", 1, 0));
    IS(listxattr("e", list, sizeof list), 20);
    HOLDS(!memmem(list, 20, "trusted", 7));
  }
  AS(OTHER, STAFF) {
    IS(getxattr("e", "user.name", value, sizeof value), 1);
    FAILS(EACCES, setxattr("e", "user.name", "w", 1, 0));
    FAILS(EACCES, removexattr("e", "user.name"));
  }
  AS(OTHER, GUESTS) {
    FAILS(EACCES, getxattr("e", "user.name", value, sizeof value));
    FAILS(EACCES, setxattr("e", "user.name", "w", 1, 0));
    HOLDS(listxattr("e", list, sizeof list) >= 0);
  }
  IS(listxattr("e", list, sizeof list), 33);
  about("user attributes of sticky directories are the owner's");
  OK(make_owned(DIRECTORY, "d", 01777, OWNER, STAFF));
  AS(OTHER, GUESTS) { FAILS(EPERM, setxattr("d", "user.name", "v", 1, 0)); }
  AS(OWNER, GUESTS) { OK(setxattr("d", "user.name", "v", 1, 0)); }
  about("security namespace by root");
  OK(setxattr("e", "security.name", "v", 1, 0));
  IS(getxattr("e", "security.name", value, sizeof value), 1);
}

TEST(xattr_many) {
  OK(put("e", ""));
  char name[64], list[8192];
  for (int i = 0; i < 60; i++) {
    snprintf(name, sizeof name, "user.attribute.%d", i);
    OK(setxattr("e", name, name, strlen(name), 0));
  }
  ssize_t length = listxattr("e", list, sizeof list);
  int found = 0;
  for (char *at = list; at < list + length; at += strlen(at) + 1) found++;
  IS(found, 60);
  OK(rename("e", "f"));
  OK(link("f", "g"));
  IS(listxattr("g", list, sizeof list), length);
}

// ACLs, in the kernel's form: version 2, then entries of tag, permissions, id.
enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHERS = 32, NO_ID = -1 };
struct acl {
  uint32_t version;
  struct {
    uint16_t tag, permissions;
    uint32_t id;
  } entries[12];
};
#define ACL_SIZE(count) (4 + 8 * (size_t)(count))
#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

static const struct acl read_for_other = {
    2, {{USER_OBJ, 6, NO_ID}, {USER, 4, OTHER}, {GROUP_OBJ, 0, NO_ID}, {MASK, 4, NO_ID}, {OTHERS, 0, NO_ID}}};

TEST(acl_grants_and_masks) {
  OK(make_owned(REGULAR, "e", 0600, OWNER, STAFF));
  OK(put("e", "text"));
  AS(OTHER, GUESTS) { FAILS(EACCES, open("e", O_RDONLY)); }
  AS(OWNER, STAFF) { OK(setxattr("e", ACCESS, &read_for_other, ACL_SIZE(5), 0)); }
  IS(mode_of("e"), 0640);  // the group bits show the mask
  AS(OTHER, GUESTS) {
    OK(close(open("e", O_RDONLY)));
    FAILS(EACCES, open("e", O_WRONLY));
  }
  AS(THIRD, STAFF) { FAILS(EACCES, open("e", O_RDONLY)); }
  AS(THIRD, GUESTS) { FAILS(EACCES, open("e", O_RDONLY)); }
  struct acl back;
  IS(getxattr("e", ACCESS, &back, sizeof back), ACL_SIZE(5));
  HOLDS(!memcmp(&back, &read_for_other, ACL_SIZE(5)));
  about("chmod moves the mask");
  OK(chmod("e", 0600));
  AS(OTHER, GUESTS) { FAILS(EACCES, open("e", O_RDONLY)); }
  IS(getxattr("e", ACCESS, &back, sizeof back), ACL_SIZE(5));
  IS(back.entries[3].permissions, 0);
  IS(back.entries[1].permissions, 4);
  OK(chmod("e", 0640));
  AS(OTHER, GUESTS) { OK(close(open("e", O_RDONLY))); }
  about("only the owner may set it");
  AS(OTHER, GUESTS) { FAILS(EPERM, setxattr("e", ACCESS, &read_for_other, ACL_SIZE(5), 0)); }
  AS(OTHER, GUESTS) { FAILS(EPERM, removexattr("e", ACCESS)); }
  about("removed");
  AS(OWNER, STAFF) { OK(removexattr("e", ACCESS)); }
  AS(OTHER, GUESTS) { FAILS(EACCES, open("e", O_RDONLY)); }
  FAILS(ENODATA, getxattr("e", ACCESS, &back, sizeof back));
}

TEST(acl_named_groups) {
  struct acl acl = {2,
                    {{USER_OBJ, 6, NO_ID},
                     {GROUP_OBJ, 4, NO_ID},
                     {GROUP, 2, CREW},
                     {MASK, 6, NO_ID},
                     {OTHERS, 0, NO_ID}}};
  OK(make_owned(REGULAR, "e", 0600, OWNER, STAFF));
  OK(setxattr("e", ACCESS, &acl, ACL_SIZE(5), 0));
  AS(OTHER, STAFF) {
    OK(close(open("e", O_RDONLY)));
    FAILS(EACCES, open("e", O_WRONLY));
  }
  AS(OTHER, CREW) {
    FAILS(EACCES, open("e", O_RDONLY));
    OK(close(open("e", O_WRONLY)));
  }
  AS_MEMBER(OTHER, GUESTS, CREW) {
    FAILS(EACCES, open("e", O_RDONLY));
    OK(close(open("e", O_WRONLY)));
  }
  about("no single entry grants both");
  AS_MEMBER(OTHER, STAFF, CREW) { FAILS(EACCES, open("e", O_RDWR)); }
  AS(OTHER, GUESTS) { FAILS(EACCES, open("e", O_RDONLY)); }
}

TEST(acl_malformed) {
  OK(put("e", ""));
  struct acl acl = read_for_other;
  FAILS(EINVAL, setxattr("e", ACCESS, &acl, 3, 0));
  FAILS(EINVAL, setxattr("e", ACCESS, &acl, ACL_SIZE(5) - 1, 0));
  FAILS(EINVAL, setxattr("e", ACCESS, &acl, ACL_SIZE(4), 0));
  acl.version = 3;
  FAILS(EOPNOTSUPP, setxattr("e", ACCESS, &acl, ACL_SIZE(5), 0));
  about("default ACL of a file");
  FAILS(EACCES, setxattr("e", DEFAULT, &read_for_other, ACL_SIZE(5), 0));
  about("symlink");
  OK(symlink("e", "link"));
  FAILS(EOPNOTSUPP, lsetxattr("link", ACCESS, &read_for_other, ACL_SIZE(5), 0));
}

TEST(acl_equal_to_a_mode_is_stored_as_mode) {
  struct acl plain = {2, {{USER_OBJ, 7, NO_ID}, {GROUP_OBJ, 5, NO_ID}, {OTHERS, 1, NO_ID}}}, back;
  OK(make_owned(REGULAR, "e", 0600, OWNER, STAFF));
  OK(setxattr("e", ACCESS, &plain, ACL_SIZE(3), 0));
  IS(mode_of("e"), 0751);
  FAILS(ENODATA, getxattr("e", ACCESS, &back, sizeof back));
  about("setting an ACL outside the file's group takes sgid");
  OK(chmod("e", 02755));
  AS(OWNER, GUESTS) { OK(setxattr("e", ACCESS, &plain, ACL_SIZE(3), 0)); }
  IS(mode_of("e"), 0751);
  OK(chmod("e", 02755));
  AS(OWNER, STAFF) { OK(setxattr("e", ACCESS, &plain, ACL_SIZE(3), 0)); }
  IS(mode_of("e"), 02751);
}

TEST(acl_default_is_inherited) {
  struct acl acl = {2,
                    {{USER_OBJ, 7, NO_ID},
                     {USER, 7, OTHER},
                     {GROUP_OBJ, 5, NO_ID},
                     {MASK, 7, NO_ID},
                     {OTHERS, 0, NO_ID}}},
             back;
  OK(mkdir("d", 0777));
  OK(setxattr("d", DEFAULT, &acl, ACL_SIZE(5), 0));
  IS(mode_of("d"), 0777);
  umask(0077);  // a default ACL takes the umask's place
  AS(OWNER, STAFF) {
    OK(close(open("d/file", O_CREAT | O_RDWR, 0666)));
    OK(mkdir("d/directory", 0777));
    OK(mkfifo("d/fifo", 0644));
    OK(close(open("d/private", O_CREAT | O_RDWR, 0600)));
  }
  umask(0);
  IS(mode_of("d/file"), 0660);
  IS(mode_of("d/directory"), 0770);
  IS(mode_of("d/fifo"), 0640);
  IS(mode_of("d/private"), 0600);
  IS(getxattr("d/file", ACCESS, &back, sizeof back), ACL_SIZE(5));
  IS(back.entries[1].id, OTHER);
  IS(back.entries[3].permissions, 6);
  FAILS_EITHER(EACCES, ENODATA, getxattr("d/file", DEFAULT, &back, sizeof back));
  IS(getxattr("d/directory", DEFAULT, &back, sizeof back), ACL_SIZE(5));
  HOLDS(!memcmp(&back, &acl, ACL_SIZE(5)));
  AS(OTHER, GUESTS) {
    OK(close(open("d/file", O_RDWR)));
    FAILS(EACCES, open("d/private", O_RDONLY));
    OK(close(open("d/directory/new", O_CREAT | O_RDWR, 0666)));
  }
  about("O_TMPFILE");
  umask(0077);
  int fd = (int)OK(open("d", O_TMPFILE | O_RDWR, 0666));
  umask(0);
  struct stat status;
  OK(fstat(fd, &status));
  IS(status.st_mode & 0777, 0660);
  IS(fgetxattr(fd, ACCESS, &back, sizeof back), ACL_SIZE(5));
  about("symlink");
  OK(symlink("x", "d/link"));
  IS(mode_of("d/link"), 0777);
  about("removed");
  OK(removexattr("d", DEFAULT));
  umask(0022);
  OK(close(open("d/plain", O_CREAT | O_RDWR, 0666)));
  IS(mode_of("d/plain"), 0644);
  FAILS(ENODATA, getxattr("d/plain", ACCESS, &back, sizeof back));
}

TEST(acl_on_directories) {
  struct acl acl = {2,
                    {{USER_OBJ, 7, NO_ID},
                     {USER, 3, OTHER},
                     {GROUP_OBJ, 0, NO_ID},
                     {MASK, 7, NO_ID},
                     {OTHERS, 0, NO_ID}}};
  OK(make_owned(DIRECTORY, "d", 0700, OWNER, STAFF));
  OK(setxattr("d", ACCESS, &acl, ACL_SIZE(5), 0));
  AS(OTHER, GUESTS) {
    OK(mkdir("d/new", 0755));
    OK(rename("d/new", "d/renamed"));
    OK(rmdir("d/renamed"));
    FAILS(EACCES, open("d", O_RDONLY));
  }
  AS(THIRD, GUESTS) { FAILS(EACCES, mkdir("d/new", 0755)); }
  AS(THIRD, STAFF) { FAILS(EACCES, chdir("d")); }
}
