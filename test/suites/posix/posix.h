// SPDX-License-Identifier: MIT
//
// The vocabulary in which the POSIX matrix is written: tests, assertions, callers, files of every type.
//
// A TEST runs in a process of its own, as root, inside an empty directory of its own on the file
// system under test. Each assertion is one TAP line, so a failure names the call, the file and the line.

#ifndef EFUSE_POSIX_H
#define EFUSE_POSIX_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define _FILE_OFFSET_BITS 64

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

// linux/fs.h clashes with sys/mount.h in glibc 2.36, so the few names needed stand here.
#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#define RENAME_WHITEOUT 4
#endif

void add_test(const char *file, int line, const char *name, void (*run)(void));

#define TEST(name)                                                                                  \
  static void name(void);                                                                           \
  __attribute__((constructor)) static void register_##name(void) {                                  \
    add_test(__FILE__, __LINE__, #name, name);                                                      \
  }                                                                                                 \
  static void name(void)

// Words put before every following assertion of this test, for tests that loop over combinations.
void about(const char *format, ...) __attribute__((format(printf, 1, 2)));

void assertion(bool passed, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

// The call succeeds; its value is the expression's.
#define OK(call)                                                                                    \
  ({                                                                                                \
    errno = 0;                                                                                      \
    long value_ = (long)(call);                                                                     \
    int error_ = errno;                                                                             \
    assertion(value_ != -1, __FILE__, __LINE__, "%s succeeds%s%s", #call,                           \
              value_ == -1 ? ", got " : "", value_ == -1 ? error_name(error_) : "");                \
    value_;                                                                                         \
  })

// The call fails with this errno and no other.
#define FAILS(code, call)                                                                           \
  ({                                                                                                \
    errno = 0;                                                                                      \
    long value_ = (long)(call);                                                                     \
    int error_ = errno;                                                                             \
    assertion(value_ == -1 && error_ == (code), __FILE__, __LINE__, "%s fails with %s%s%s", #call,  \
              error_name(code), value_ == -1 && error_ == (code) ? "" : ", got ",                   \
              value_ != -1 ? "success" : error_ == (code) ? "" : error_name(error_));               \
  })

// Where the standard leaves the choice between two.
#define FAILS_EITHER(one, other, call)                                                              \
  ({                                                                                                \
    errno = 0;                                                                                      \
    long value_ = (long)(call);                                                                     \
    int error_ = errno;                                                                             \
    assertion(value_ == -1 && (error_ == (one) || error_ == (other)), __FILE__, __LINE__,           \
              "%s fails with %s or %s (%s)", #call, error_name(one), error_name(other),             \
              value_ == -1 ? error_name(error_) : "got success");                                   \
  })

// The call succeeds if expected is 0, fails with that errno otherwise: for tables of expectations.
#define GIVES(expected, call)                                                                       \
  ({                                                                                                \
    int want_ = (expected);                                                                         \
    errno = 0;                                                                                      \
    long value_ = (long)(call);                                                                     \
    int error_ = value_ == -1 ? errno : 0;                                                          \
    assertion(error_ == want_, __FILE__, __LINE__, "%s gives %s%s%s", #call, error_name(want_),     \
              error_ == want_ ? "" : ", got ", error_ == want_ ? "" : error_name(error_));          \
    value_;                                                                                         \
  })

#define IS(actual, expected)                                                                        \
  ({                                                                                                \
    long long actual_ = (long long)(actual), expected_ = (long long)(expected);                     \
    if (actual_ == expected_)                                                                       \
      assertion(true, __FILE__, __LINE__, "%s is %s", #actual, #expected);                          \
    else                                                                                            \
      assertion(false, __FILE__, __LINE__, "%s is %s: %lld (%#llo) instead of %lld (%#llo)",        \
                #actual, #expected, actual_, (unsigned long long)actual_, expected_,                \
                (unsigned long long)expected_);                                                     \
  })

#define HOLDS(condition) assertion((condition), __FILE__, __LINE__, "%s", #condition)

const char *error_name(int code);

// Callers. Root keeps its saved ids, so that AS (uid, gid) { ... } can return to it.
enum { OWNER = 30001, OTHER = 30002, THIRD = 30003 };
enum { STAFF = 40001, GUESTS = 40002, CREW = 40003 };

int enter(uid_t uid, gid_t gid, size_t count, const gid_t *groups);
int leave(void);

#define AS(uid, gid) for (int inside_ = enter(uid, gid, 0, NULL); inside_; inside_ = leave())
#define AS_MEMBER(uid, gid, group) \
  for (int inside_ = enter(uid, gid, 1, (gid_t[]){group}); inside_; inside_ = leave())

// Files of every type.
enum type { REGULAR, DIRECTORY, FIFO, CHAR_DEVICE, BLOCK_DEVICE, SOCKET, SYMLINK, TYPES };
extern const char *const type_names[TYPES];
extern const mode_t type_modes[TYPES];

// Creates an entry of that type with that mode (a symlink points to nowhere and has no mode of its own).
int make(enum type type, const char *path, mode_t mode);
int make_owned(enum type type, const char *path, mode_t mode, uid_t uid, gid_t gid);
int destroy(enum type type, const char *path);

// Writes a whole file, creating it if need be; -1 on error.
int put(const char *path, const char *text);
// Whether the file holds exactly this text.
bool holds(const char *path, const char *text);

struct stat status_of(const char *path);  // lstat; zeroes if there is none
mode_t mode_of(const char *path);         // permission bits and suid, sgid, sticky
bool exists(const char *path);

bool before(struct timespec a, struct timespec b);
bool same(struct timespec a, struct timespec b);
// Returns once the file systems' clock has moved on, so that a later change gets a later time stamp.
void tick(void);

// Runs body in a child and gives its exit status (128 + n if signal n ended it).
#define IN_CHILD(...)                                                                               \
  ({                                                                                                \
    pid_t child_ = fork();                                                                          \
    if (child_ == 0) {                                                                              \
      __VA_ARGS__;                                                                                  \
      _exit(0);                                                                                     \
    }                                                                                               \
    exit_status(child_);                                                                            \
  })
int exit_status(pid_t child);

// Makes child and parent wait for each other without sleeping.
struct gate {
  int ends[2];
};
struct gate gate_new(void);
void gate_open(struct gate *gate);
void gate_await(struct gate *gate);

// True where the kernel's own hardening (fs.protected_*) changes what POSIX says.
bool kernel_protects(const char *what);

// Empties the kernel's caches of dentries and inodes, so that identities must be found again.
void drop_caches(void);

#endif
