// SPDX-License-Identifier: MIT
//
// What every call that takes a path must say about the path itself: missing parts, parts that are no
// directory, lengths, loops, search permission, read-only mounts. One table of calls, crossed with the cases.

#include "posix.h"

#include <sched.h>
#include <sys/inotify.h>

enum {
  CREATES = 1,   // makes the path's last component
  REMOVES = 2,   // takes it away
  CHANGES = 4,   // changes what it names
  FOLLOWS = 8,   // follows a symlink in the last component
  ON_DIR = 16,   // works on directories only
  ON_LINK = 32,  // works on symlinks only
  BOUNDED = 64,  // an own, shorter limit of the path's length (sun_path)
  OWNER_ONLY = 128,
  ROOT_ONLY = 256,  // an unprivileged caller gets EPERM whatever the path
};

static int use_stat(const char *path) {
  struct stat status;
  return stat(path, &status);
}
static int use_lstat(const char *path) {
  struct stat status;
  return lstat(path, &status);
}
static int use_statx(const char *path) {
  struct statx status;
  return statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_ALL, &status);
}
static int use_access(const char *path) { return faccessat(AT_FDCWD, path, F_OK, AT_EACCESS); }
static int use_statfs(const char *path) {
  struct statfs status;
  return statfs(path, &status);
}
static int use_chmod(const char *path) { return chmod(path, 0755); }
static int use_chown(const char *path) { return chown(path, (uid_t)-1, (gid_t)-1); }
static int use_lchown(const char *path) { return lchown(path, (uid_t)-1, (gid_t)-1); }
static int use_truncate(const char *path) { return truncate(path, 0); }
static int close_opened(int fd) { return fd < 0 ? fd : close(fd); }
static int use_open_read(const char *path) { return close_opened(open(path, O_RDONLY)); }
static int use_open_write(const char *path) { return close_opened(open(path, O_WRONLY)); }
static int use_open_path(const char *path) { return close_opened(open(path, O_PATH)); }
static int use_open_directory(const char *path) { return close_opened(open(path, O_RDONLY | O_DIRECTORY)); }
static int use_tmpfile(const char *path) { return close_opened(open(path, O_TMPFILE | O_RDWR, 0600)); }
static int use_open_create(const char *path) { return close_opened(open(path, O_RDWR | O_CREAT, 0644)); }
static int use_open_exclusive(const char *path) { return close_opened(open(path, O_RDWR | O_CREAT | O_EXCL, 0644)); }
static int use_mkdir(const char *path) { return mkdir(path, 0755); }
static int use_mkfifo(const char *path) { return mkfifo(path, 0644); }
static int use_mknod_regular(const char *path) { return mknod(path, S_IFREG | 0644, 0); }
static int use_mknod_socket(const char *path) { return mknod(path, S_IFSOCK | 0644, 0); }
static int use_mknod_device(const char *path) { return mknod(path, S_IFCHR | 0644, makedev(1, 3)); }
static int use_symlink(const char *path) { return symlink("target", path); }
static int use_bind(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  int result = bind(fd, (struct sockaddr *)&address, sizeof address);
  int error = errno;
  close(fd);
  errno = error == EADDRINUSE ? EEXIST : error;  // bind's name for the same condition
  return result;
}
// The other side of the two-path calls always lies beside the test's root, where all may write.
static char beside[PATH_MAX];
static int use_link_from(const char *path) {
  int result = link(path, beside);
  if (result == 0) unlink(beside);
  return result;
}
static int use_link_to(const char *path) {
  char source[PATH_MAX + 8];
  snprintf(source, sizeof source, "%s.source", beside);
  return link(source, path);
}
static int use_rename_from(const char *path) {
  int result = rename(path, beside);
  if (result == 0 && unlink(beside)) rmdir(beside);
  return result;
}
static int use_rename_to(const char *path) {
  char source[PATH_MAX + 8];
  snprintf(source, sizeof source, "%s.moved", beside);
  int fd = open(source, O_CREAT | O_WRONLY, 0644);
  if (fd >= 0) close(fd);
  return rename(source, path);
}
static int use_unlink(const char *path) { return unlink(path); }
static int use_rmdir(const char *path) { return rmdir(path); }
static int use_readlink(const char *path) {
  char target[PATH_MAX];
  return readlink(path, target, sizeof target) < 0 ? -1 : 0;
}
static int use_utimensat(const char *path) { return utimensat(AT_FDCWD, path, NULL, 0); }
static int use_lutimes(const char *path) { return utimensat(AT_FDCWD, path, NULL, AT_SYMLINK_NOFOLLOW); }
static int use_setxattr(const char *path) { return setxattr(path, "user.name", "value", 5, 0); }
static int use_getxattr(const char *path) {
  char value[16];
  return getxattr(path, "user.name", value, sizeof value) < 0 && errno != ENODATA ? -1 : 0;
}
static int use_listxattr(const char *path) { return listxattr(path, NULL, 0) < 0 ? -1 : 0; }
static int use_llistxattr(const char *path) { return llistxattr(path, NULL, 0) < 0 ? -1 : 0; }
static int use_removexattr(const char *path) { return removexattr(path, "user.name") < 0 && errno != ENODATA ? -1 : 0; }
static int use_chdir(const char *path) {
  int here = open(".", O_PATH), result = chdir(path), error = errno;
  if (fchdir(here)) abort();
  close(here);
  errno = error;
  return result;
}
static int use_opendir(const char *path) {
  DIR *directory = opendir(path);
  return directory ? closedir(directory) : -1;
}
static int use_handle(const char *path) {
  union {
    struct file_handle handle;
    char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
  } any = {.handle.handle_bytes = MAX_HANDLE_SZ};
  int mount_id;
  return name_to_handle_at(AT_FDCWD, path, &any.handle, &mount_id, 0);
}
static int use_inotify(const char *path) {
  int fd = inotify_init1(IN_CLOEXEC), result = inotify_add_watch(fd, path, IN_ATTRIB), error = errno;
  close(fd);
  errno = error;
  return result < 0 ? -1 : 0;
}

static const struct call {
  const char *name;
  int (*use)(const char *path);
  int traits;
} calls[] = {
    {"stat", use_stat, FOLLOWS},
    {"lstat", use_lstat, 0},
    {"statx", use_statx, FOLLOWS},
    {"access", use_access, FOLLOWS},
    {"statfs", use_statfs, FOLLOWS},
    {"chmod", use_chmod, FOLLOWS | CHANGES | OWNER_ONLY},
    {"chown", use_chown, FOLLOWS | CHANGES},
    {"lchown", use_lchown, CHANGES},
    {"truncate", use_truncate, FOLLOWS | CHANGES},
    {"open(O_RDONLY)", use_open_read, FOLLOWS},
    {"open(O_WRONLY)", use_open_write, FOLLOWS | CHANGES},
    {"open(O_PATH)", use_open_path, FOLLOWS},
    {"open(O_DIRECTORY)", use_open_directory, FOLLOWS | ON_DIR},
    {"open(O_TMPFILE)", use_tmpfile, FOLLOWS | ON_DIR | CHANGES},
    {"open(O_CREAT)", use_open_create, CREATES | FOLLOWS},
    {"open(O_CREAT|O_EXCL)", use_open_exclusive, CREATES},
    {"mkdir", use_mkdir, CREATES},
    {"mkfifo", use_mkfifo, CREATES},
    {"mknod(S_IFREG)", use_mknod_regular, CREATES},
    {"mknod(S_IFSOCK)", use_mknod_socket, CREATES},
    {"mknod(S_IFCHR)", use_mknod_device, CREATES | ROOT_ONLY},
    {"symlink", use_symlink, CREATES},
    {"bind", use_bind, CREATES | BOUNDED},
    {"link from", use_link_from, CHANGES},
    {"link to", use_link_to, CREATES},
    {"rename from", use_rename_from, REMOVES},
    {"rename to", use_rename_to, CREATES},
    {"unlink", use_unlink, REMOVES},
    {"rmdir", use_rmdir, REMOVES | ON_DIR},
    {"readlink", use_readlink, ON_LINK},
    {"utimensat", use_utimensat, FOLLOWS | CHANGES},
    {"utimensat(AT_SYMLINK_NOFOLLOW)", use_lutimes, CHANGES},
    {"setxattr", use_setxattr, FOLLOWS | CHANGES},
    {"getxattr", use_getxattr, FOLLOWS},
    {"listxattr", use_listxattr, FOLLOWS},
    {"llistxattr", use_llistxattr, 0},
    {"removexattr", use_removexattr, FOLLOWS | CHANGES},
    {"chdir", use_chdir, FOLLOWS | ON_DIR},
    {"opendir", use_opendir, FOLLOWS | ON_DIR},
    {"name_to_handle_at", use_handle, 0},
    {"inotify_add_watch", use_inotify, FOLLOWS},
};
enum { CALLS = sizeof calls / sizeof *calls };

#define EACH_CALL(call) for (const struct call *call = calls; call < calls + CALLS; call++)

static bool is(const struct call *call, int trait) { return (call->traits & trait) != 0; }

static void arrange(void) {
  char here[PATH_MAX - 64], source[PATH_MAX + 8];
  if (!getcwd(here, sizeof here)) abort();
  snprintf(beside, sizeof beside, "%s/beside/other", here);
  OK(mkdir("beside", 0777));
  snprintf(source, sizeof source, "%s.source", beside);
  OK(put(source, ""));
  OK(chmod(source, 0666));
}

// Puts at path what the call can work on; nothing for calls that create.
static void prepare(const struct call *call, const char *path, uid_t uid, gid_t gid) {
  if (is(call, CREATES)) return;
  OK(make_owned(is(call, ON_DIR) ? DIRECTORY : is(call, ON_LINK) ? SYMLINK : REGULAR, path, 0755, uid, gid));
}

static void clear(const char *path) {
  if (unlink(path) && errno == EISDIR) rmdir(path);
}

static bool names_entry(const struct call *call) { return !is(call, CREATES) || call->use == use_link_to; }

TEST(path_missing) {
  arrange();
  OK(mkdir("directory", 0755));
  EACH_CALL(call) {
    about("%s", call->name);
    FAILS(ENOENT, call->use("missing/entry"));
    FAILS(ENOENT, call->use("directory/missing/entry"));
    if (call->use != use_bind) FAILS(ENOENT, call->use(""));
    if (!is(call, CREATES)) FAILS(ENOENT, call->use("directory/missing"));
    if (!is(call, CREATES)) FAILS(ENOENT, call->use("missing"));
    if (!is(call, CREATES)) FAILS(ENOENT, call->use("missing/"));
  }
}

TEST(path_through_a_non_directory) {
  arrange();
  for (enum type type = REGULAR; type < SYMLINK; type++) {
    if (type == DIRECTORY) continue;
    OK(make(type, type_names[type], 0644));
    EACH_CALL(call) {
      char path[64];
      about("%s through a %s", call->name, type_names[type]);
      snprintf(path, sizeof path, "%s/entry", type_names[type]);
      FAILS(ENOTDIR, call->use(path));
      snprintf(path, sizeof path, "%s/../beside", type_names[type]);
      FAILS(ENOTDIR, call->use(path));
    }
  }
}

TEST(path_component_length) {
  arrange();
  char longest[256], too_long[257], inside[600];
  memset(longest, 'n', 255);
  longest[255] = 0;
  memset(too_long, 'n', 256);
  too_long[256] = 0;
  EACH_CALL(call) {
    if (is(call, BOUNDED)) continue;
    about("%s", call->name);
    FAILS(ENAMETOOLONG, call->use(too_long));
    snprintf(inside, sizeof inside, "%s/entry", too_long);
    FAILS(ENAMETOOLONG, call->use(inside));
    prepare(call, longest, 0, 0);
    OK(call->use(longest));
    if (is(call, REMOVES)) HOLDS(!exists(longest));
    clear(longest);
    OK(mkdir(longest, 0755));
    snprintf(inside, sizeof inside, "%s/%s", longest, longest);
    prepare(call, inside, 0, 0);
    OK(call->use(inside));
    clear(inside);
    OK(rmdir(longest));
  }
}

TEST(path_length) {
  arrange();
  static char path[PATH_MAX + 8];
  EACH_CALL(call) {
    if (is(call, BOUNDED)) continue;
    about("%s", call->name);
    for (int length = PATH_MAX - 1; length <= PATH_MAX; length++) {
      // "./././e": as long as wanted, and resolvable.
      memset(path, 0, sizeof path);
      for (int i = 0; i < length - 1; i++) path[i] = i % 2 ? '/' : '.';
      if (path[length - 2] == '.') path[length - 2] = '/';
      path[length - 1] = 'e';
      if (length < PATH_MAX) {
        prepare(call, "e", 0, 0);
        OK(call->use(path));
        clear("e");
      } else {
        FAILS(ENAMETOOLONG, call->use(path));
      }
    }
  }
}

TEST(path_loops) {
  arrange();
  OK(symlink("loop", "loop"));
  OK(symlink("pong", "ping"));
  OK(symlink("ping", "pong"));
  EACH_CALL(call) {
    about("%s", call->name);
    FAILS(ELOOP, call->use("loop/entry"));
    FAILS(ELOOP, call->use("ping/entry"));
    FAILS(ELOOP, call->use("pong/entry/entry"));
    if (is(call, FOLLOWS)) FAILS(ELOOP, call->use("loop"));
    if (is(call, FOLLOWS)) FAILS(ELOOP, call->use("ping"));
  }
  about("chain of 40 links");
  OK(put("end", "text"));
  OK(symlink("end", "link.1"));
  for (int i = 2; i <= 41; i++) {
    char target[16], path[16];
    snprintf(target, sizeof target, "link.%d", i - 1);
    snprintf(path, sizeof path, "link.%d", i);
    OK(symlink(target, path));
  }
  HOLDS(holds("link.40", "text"));
  FAILS(ELOOP, use_stat("link.41"));
}

TEST(path_bad_address) {
  arrange();
  EACH_CALL(call) {
    if (is(call, BOUNDED) || call->use == use_opendir) continue;  // the C library reads the path first
    about("%s", call->name);
    FAILS(EFAULT, call->use((const char *)-1));
  }
}

TEST(path_through_symlinks) {
  arrange();
  OK(mkdir("real", 0755));
  OK(mkdir("real/deep", 0755));
  OK(symlink("real", "link"));
  OK(symlink("link/deep", "link to link"));
  char absolute[PATH_MAX], here[PATH_MAX - 16];
  HOLDS(getcwd(here, sizeof here) != NULL);
  snprintf(absolute, sizeof absolute, "%s/real", here);
  OK(symlink(absolute, "absolute"));
  static const char *const ways[][2] = {{"link/e", "real/e"},
                                        {"link to link/e", "real/deep/e"},
                                        {"absolute/e", "real/e"},
                                        {"link/deep/../e", "real/e"},
                                        {"real/./deep/.././e", "real/e"},
                                        {"link to link/../e", "real/e"},
                                        {"real//deep///e", "real/deep/e"}};
  EACH_CALL(call) {
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
      about("%s %s", call->name, ways[i][0]);
      prepare(call, ways[i][1], 0, 0);
      OK(call->use(ways[i][0]));
      if (is(call, CREATES)) HOLDS(exists(ways[i][1]));
      if (is(call, REMOVES)) HOLDS(!exists(ways[i][1]));
      clear(ways[i][1]);
    }
  }
}

TEST(path_search_permission) {
  arrange();
  // Modes in which the last digit that applies to the caller lacks x, and in which it has only x.
  static const struct {
    const char *who;
    uid_t uid;
    gid_t gid, member;
    mode_t refused, granted;
  } callers[] = {
      {"owner", OWNER, GUESTS, 0, 0677, 0300},
      {"group", OTHER, STAFF, 0, 0767, 0030},
      {"supplementary group", OTHER, GUESTS, STAFF, 0767, 0030},
      {"other", OTHER, GUESTS, 0, 0776, 0003},
  };
  OK(make_owned(DIRECTORY, "parent", 0755, OWNER, STAFF));
  for (size_t i = 0; i < sizeof callers / sizeof *callers; i++) {
    uid_t uid = callers[i].uid;
    EACH_CALL(call) {
      about("%s as %s", call->name, callers[i].who);
      prepare(call, "parent/e", uid, callers[i].gid);
      OK(chmod("parent", callers[i].refused));
      AS_MEMBER(uid, callers[i].gid, callers[i].member) { FAILS(EACCES, call->use("parent/e")); }
      OK(chmod("parent", callers[i].granted));
      AS_MEMBER(uid, callers[i].gid, callers[i].member) {
        GIVES(is(call, ROOT_ONLY) ? EPERM : 0, call->use("parent/e"));
      }
      clear("parent/e");
    }
  }
}

TEST(path_write_permission_of_the_parent) {
  arrange();
  static const struct {
    const char *who;
    uid_t uid;
    gid_t gid, member;
    mode_t refused;
  } callers[] = {
      {"owner", OWNER, GUESTS, 0, 0577},
      {"group", OTHER, STAFF, 0, 0757},
      {"supplementary group", OTHER, GUESTS, STAFF, 0757},
      {"other", OTHER, GUESTS, 0, 0775},
  };
  OK(make_owned(DIRECTORY, "parent", 0755, OWNER, STAFF));
  for (size_t i = 0; i < sizeof callers / sizeof *callers; i++) {
    EACH_CALL(call) {
      if (!is(call, CREATES | REMOVES)) continue;
      about("%s as %s", call->name, callers[i].who);
      prepare(call, "parent/e", callers[i].uid, callers[i].gid);
      struct stat was = status_of("parent");
      OK(chmod("parent", callers[i].refused));
      AS_MEMBER(callers[i].uid, callers[i].gid, callers[i].member) {
        FAILS(EACCES, call->use("parent/e"));
      }
      IS(exists("parent/e"), names_entry(call) && call->use != use_link_to);
      HOLDS(same(status_of("parent").st_mtim, was.st_mtim));
      OK(chmod("parent", 0755));
      clear("parent/e");
    }
  }
}

TEST(path_that_exists) {
  arrange();
  EACH_CALL(call) {
    if (!is(call, CREATES) || call->use == use_open_create || call->use == use_rename_to) continue;
    for (enum type type = REGULAR; type < TYPES; type++) {
      about("%s over a %s", call->name, type_names[type]);
      OK(make(type, "e", 0644));
      struct stat was = status_of("e");
      FAILS(EEXIST, call->use("e"));
      IS(status_of("e").st_ino, was.st_ino);
      IS(status_of("e").st_mode, was.st_mode);
      HOLDS(!exists("nowhere"));
      AS(OWNER, STAFF) { FAILS(EEXIST, call->use("e")); }
      OK(destroy(type, "e"));
    }
    about("%s", call->name);
    FAILS(EEXIST, call->use("."));
    FAILS(EEXIST, call->use(".."));
    FAILS(EEXIST, call->use("/"));
  }
}

TEST(path_with_trailing_slash) {
  arrange();
  EACH_CALL(call) {
    about("%s", call->name);
    OK(put("file", ""));
    if (call->use == use_open_create) FAILS(EISDIR, call->use("file/"));
    else if (call->use == use_open_exclusive) FAILS(EISDIR, call->use("file/"));
    else if (!is(call, CREATES)) FAILS(ENOTDIR, call->use("file/"));
    OK(unlink("file"));
    if (call->use == use_mkdir) {
      OK(call->use("new/"));
      HOLDS(S_ISDIR(status_of("new").st_mode));
      OK(rmdir("new/"));
    } else if (is(call, CREATES)) {
      if (call->use == use_open_create || call->use == use_open_exclusive) FAILS(EISDIR, call->use("new/"));
      else if (call->use == use_rename_to) FAILS(ENOTDIR, call->use("new/"));
      else FAILS(ENOENT, call->use("new/"));
      HOLDS(!exists("new"));
    } else if (is(call, ON_DIR)) {
      OK(mkdir("new", 0755));
      OK(call->use("new/"));
      clear("new");
    }
  }
}

TEST(path_on_a_read_only_mount) {
  arrange();
  OK(mkdir("tree", 0755));
  OK(unshare(CLONE_NEWNS));
  OK(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
  EACH_CALL(call) {
    about("%s", call->name);
    if (call->use == use_rename_from || call->use == use_link_from) continue;  // EXDEV comes first
    if (call->use == use_rename_to || call->use == use_link_to) continue;
    prepare(call, "tree/e", 0, 0);
    OK(mount("tree", "tree", NULL, MS_BIND, NULL));
    OK(mount("none", "tree", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL));
    int expected = is(call, CREATES | REMOVES | CHANGES) ? EROFS : 0;
    GIVES(expected, call->use("tree/e"));
    if (expected == 0 && call->use == use_open_read) FAILS(EROFS, faccessat(AT_FDCWD, "tree/e", W_OK, 0));
    OK(umount("tree"));
    IS(exists("tree/e"), !is(call, CREATES));
    clear("tree/e");
  }
  about("both paths on the read-only mount");
  OK(put("tree/e", "text"));
  OK(mount("tree", "tree", NULL, MS_BIND, NULL));
  OK(mount("none", "tree", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL));
  FAILS(EROFS, rename("tree/e", "tree/f"));
  FAILS(EROFS, link("tree/e", "tree/f"));
  about("from one mount to another");
  FAILS(EXDEV, rename("tree/e", "f"));
  FAILS(EXDEV, link("tree/e", "f"));
  OK(umount("tree"));
  HOLDS(holds("tree/e", "text"));
}
