// SPDX-License-Identifier: MIT
//
// unlink, rmdir and what stays open behind them; sticky directories for every combination of owners.

#include "posix.h"

TEST(unlink_every_type) {
  for (enum type type = REGULAR; type < TYPES; type++) {
    about("%s", type_names[type]);
    OK(make(type, "e", 0644));
    if (type == DIRECTORY) {
      FAILS(EISDIR, unlink("e"));
      OK(rmdir("e"));
    } else {
      FAILS(ENOTDIR, rmdir("e"));
      FAILS(ENOTDIR, unlinkat(AT_FDCWD, "e", AT_REMOVEDIR));
      OK(unlink("e"));
    }
    HOLDS(!exists("e"));
    FAILS(ENOENT, unlink("e"));
    FAILS(ENOENT, rmdir("e"));
  }
}

TEST(unlink_by_owners_of_parent_and_file) {
  // Without the sticky bit only the directory's write permission counts.
  OK(make_owned(DIRECTORY, "d", 0755, OWNER, STAFF));
  for (enum type type = REGULAR; type < TYPES; type++) {
    about("%s", type_names[type]);
    OK(make_owned(type, "d/e", 0, OTHER, GUESTS));
    AS(OTHER, GUESTS) { FAILS(EACCES, destroy(type, "d/e")); }
    HOLDS(exists("d/e"));
    AS(OWNER, STAFF) { OK(destroy(type, "d/e")); }
  }
}

TEST(sticky_directories) {
  enum { ROOT_OWNED = 0 };
  static const uid_t owners[] = {0, OWNER, OTHER, THIRD};
  OK(mkdir("elsewhere", 0777));
  OK(mkdir("d", 01777));
  for (size_t i = 0; i < 4; i++) {
    for (size_t j = 0; j < 4; j++) {
      for (size_t k = 0; k < 4; k++) {
        uid_t directory = owners[i], file = owners[j], caller = owners[k];
        bool may = caller == 0 || caller == directory || caller == file;
        OK(chown("d", directory, CREW));
        IS(mode_of("d"), 01777);
        for (enum type type = REGULAR; type < TYPES; type++) {
          about("%s of %d in sticky directory of %d, by %d", type_names[type], (int)file, (int)directory, (int)caller);
          OK(make_owned(type, "d/e", 0777, file, CREW));
          AS(caller, CREW) {
            GIVES(may ? 0 : EPERM, rename("d/e", "d/moved"));
            if (may) OK(rename("d/moved", "d/e"));
            // Moving a directory elsewhere rewrites its "..", which needs write permission on it (0777 here).
            GIVES(may ? 0 : EPERM, rename("d/e", "elsewhere/moved"));
            if (may) OK(rename("elsewhere/moved", "d/e"));
            GIVES(may ? 0 : EPERM, destroy(type, "d/e"));
          }
          IS(exists("d/e"), !may);
          if (!may) OK(destroy(type, "d/e"));
        }
        about("renaming over a file of %d in sticky directory of %d, by %d", (int)file, (int)directory, (int)caller);
        OK(make_owned(REGULAR, "d/e", 0777, file, CREW));
        OK(make_owned(REGULAR, "elsewhere/e", 0777, caller, CREW));
        AS(caller, CREW) { GIVES(may ? 0 : EPERM, rename("elsewhere/e", "d/e")); }
        IS(exists("elsewhere/e"), !may);
        if (!may) OK(unlink("elsewhere/e"));
        OK(unlink("d/e"));
      }
    }
  }
}

TEST(rmdir_of_what_is_in_use) {
  OK(mkdir("d", 0755));
  for (enum type type = REGULAR; type < TYPES; type++) {
    about("holding a %s", type_names[type]);
    OK(make(type, "d/e", 0644));
    FAILS(ENOTEMPTY, rmdir("d"));
    OK(destroy(type, "d/e"));
  }
  about("dots");
  FAILS(EINVAL, rmdir("d/."));
  FAILS(ENOTEMPTY, rmdir("d/.."));
  OK(mkdir("d/inner", 0755));
  FAILS(ENOTEMPTY, rmdir("d/inner/.."));
  OK(rmdir("d/inner"));
  about("mount point");
  OK(mount("none", "d", "tmpfs", 0, "size=64k"));
  FAILS(EBUSY, rmdir("d"));
  FAILS(EBUSY, rename("d", "elsewhere"));
  OK(umount("d"));
  OK(rmdir("d"));
}

TEST(rmdir_of_the_current_directory) {
  OK(mkdir("d", 0755));
  int above = (int)OK(open(".", O_PATH));
  OK(chdir("d"));
  OK(rmdir("../d"));
  struct stat status;
  OK(stat(".", &status));
  IS(status.st_nlink, 0);
  FAILS(ENOENT, open("new", O_CREAT | O_RDWR, 0644));
  FAILS(ENOENT, mkdir("new", 0755));
  FAILS(ENOENT, symlink("a", "new"));
  FAILS(ENOENT, stat("new", &status));
  DIR *directory = opendir(".");
  HOLDS(directory != NULL);
  int entries = 0;
  while (directory && readdir(directory)) entries++;
  HOLDS(entries == 0 || entries == 2);
  closedir(directory);
  OK(fchdir(above));
}

TEST(open_files_outlive_their_names) {
  int fd = (int)OK(open("file", O_CREAT | O_RDWR, 0640));
  IS(write(fd, "first", 5), 5);
  OK(unlink("file"));
  struct stat status;
  OK(fstat(fd, &status));
  IS(status.st_nlink, 0);
  IS(status.st_size, 5);
  IS(status.st_mode, S_IFREG | 0640);
  IS(pwrite(fd, "second", 6, 5), 6);
  char content[16];
  IS(pread(fd, content, sizeof content, 0), 11);
  HOLDS(memcmp(content, "firstsecond", 11) == 0);
  OK(ftruncate(fd, 3));
  OK(fchmod(fd, 0600));
  OK(fchown(fd, OWNER, STAFF));
  OK(futimens(fd, (struct timespec[]){{5, 6}, {7, 8}}));
  OK(fsetxattr(fd, "user.name", "value", 5, 0));
  IS(fgetxattr(fd, "user.name", content, sizeof content), 5);
  OK(fsync(fd));
  OK(fstat(fd, &status));
  IS(status.st_size, 3);
  IS(status.st_uid, OWNER);
  IS(status.st_mode, S_IFREG | 0600);
  IS(status.st_mtim.tv_sec, 7);
  IS(status.st_mtim.tv_nsec, 8);
  about("a new file of that name");
  OK(put("file", "new"));
  HOLDS(status_of("file").st_ino != status.st_ino);
  IS(pread(fd, content, sizeof content, 0), 3);
  HOLDS(memcmp(content, "fir", 3) == 0);
  about("reopened through /proc/self/fd");
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  int again = (int)OK(open(link, O_RDONLY));
  IS(read(again, content, sizeof content), 3);
  close(again);
  char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  HOLDS(map != MAP_FAILED);
  close(fd);
  map[0] = 'F';
  OK(msync(map, 4096, MS_SYNC));
  HOLDS(memcmp(map, "Fir", 3) == 0);
  OK(munmap(map, 4096));
}

TEST(open_files_outlive_a_rename_over_them) {
  OK(put("a", "a"));
  OK(put("b", "b"));
  int fd = (int)OK(open("b", O_RDWR));
  OK(rename("a", "b"));
  char byte = 0;
  IS(read(fd, &byte, 1), 1);
  IS(byte, 'b');
  IS(write(fd, "more", 4), 4);
  struct stat status;
  OK(fstat(fd, &status));
  IS(status.st_nlink, 0);
  IS(status.st_size, 5);
  HOLDS(holds("b", "a"));
}

TEST(open_directories_outlive_their_names) {
  OK(mkdir("d", 0755));
  int fd = (int)OK(open("d", O_RDONLY | O_DIRECTORY));
  OK(rmdir("d"));
  struct stat status;
  OK(fstat(fd, &status));
  IS(status.st_nlink, 0);
  FAILS(ENOENT, openat(fd, "new", O_CREAT | O_RDWR, 0644));
  FAILS(ENOENT, mkdirat(fd, "new", 0755));
  OK(mkdir("d", 0755));
  HOLDS(status_of("d").st_ino != status.st_ino || status_of("d").st_nlink == 2);
  OK(fchmod(fd, 0700));
  IS(mode_of("d"), 0755);
}

TEST(space_returns_after_the_last_close) {
  struct statvfs was, held, now;
  int fd = (int)OK(open("file", O_CREAT | O_RDWR, 0644));
  static char block[1 << 16];
  memset(block, 'x', sizeof block);
  OK(fstatvfs(fd, &was));
  HOLDS(was.f_bsize > 0 && was.f_blocks > 0 && was.f_files > 0 && was.f_namemax == 255);
  for (int i = 0; i < 64; i++)
    if (write(fd, block, sizeof block) != sizeof block) break;
  OK(fsync(fd));
  OK(unlink("file"));
  struct stat status;
  OK(fstat(fd, &status));
  IS(status.st_size, 64 << 16);
  HOLDS(status.st_blocks >= (64 << 16) / 512);
  OK(fstatvfs(fd, &held));
  close(fd);
  OK(statvfs(".", &now));
}
