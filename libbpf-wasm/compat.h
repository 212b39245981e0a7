// SPDX-License-Identifier: MIT
// Included before every source of libbpf: turns a libc that knows only WASI into one that knows the Linux
// below it. What reaches the kernel goes through system.c to the host; nothing of libbpf itself is changed.
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <asm/unistd.h>

// The kernel's error numbers in place of WASI's: they come from it, and go to those who call libbpf.
#pragma clang diagnostic ignored "-Wmacro-redefined"
#include <asm-generic/errno.h>
#undef ENOTSUP
#define ENOTSUP EOPNOTSUPP

// libbpf's own calls. WASI would send files to a sandbox, and has the rest not at all.
#define open linux_open
#define close linux_close
#define read linux_read
#define write linux_write
#define fstat linux_fstat
#define fcntl linux_fcntl
#define access linux_access
#define faccessat(directory, path, mode, flags) linux_access(path, mode)
#define mkdir linux_mkdir
#define unlink linux_unlink
#define fopen linux_fopen
#define sysconf linux_sysconf
#define getpagesize linux_getpagesize
#define getpid linux_getpid
#define geteuid linux_geteuid
#define realpath linux_realpath
#define syscall linux_syscall
#define strerror_r linux_strerror_r

int linux_open(const char *path, int flags, ...);
int linux_close(int fd);
ssize_t linux_read(int fd, void *buffer, size_t length);
ssize_t linux_write(int fd, const void *buffer, size_t length);
int linux_fstat(int fd, struct stat *status);
int linux_fcntl(int fd, int command, ...);
int linux_access(const char *path, int mode);
int linux_mkdir(const char *path, mode_t mode);
int linux_unlink(const char *path);
FILE *linux_fopen(const char *path, const char *mode);
long linux_sysconf(int name);
int linux_getpagesize(void);
int linux_getpid(void);
int linux_geteuid(void);
char *linux_realpath(const char *path, char *resolved);
long linux_syscall(long number, ...);
int linux_strerror_r(int error, char *buffer, size_t length);

#ifndef F_DUPFD_CLOEXEC
#define F_DUPFD_CLOEXEC 1030
#endif
#undef AT_EACCESS
#define AT_EACCESS 0x200
