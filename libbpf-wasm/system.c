// SPDX-License-Identifier: MIT
// The system calls that libbpf makes, as calls to the host (src/bpf/host.ts). The host's functions return
// >= 0, or a negated Linux errno. Descriptors are the process's own.
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <asm/unistd.h>
#include <net/if.h>
#include <zlib.h>

#define HOST(name) __attribute__((import_module("host"), import_name(name)))

HOST("bpf") int host_bpf(int command, void *attr, unsigned size);
HOST("perfEventOpen") int host_perf_event_open(void *attr, int pid, int cpu, int group, unsigned flags);
HOST("ioctl") int host_ioctl(int fd, unsigned request, unsigned value);
HOST("open") int host_open(const char *path);
HOST("close") int host_close(int fd);
HOST("read") int host_read(int fd, void *buffer, unsigned length);
HOST("size") int host_size(int fd);
HOST("duplicate") int host_duplicate(int fd, int minimum);
HOST("replace") int host_replace(int fd, int replaced);
HOST("placeholder") int host_placeholder(void);
HOST("access") int host_access(const char *path, int mode);
HOST("makeDirectory") int host_make_directory(const char *path);
HOST("unlink") int host_unlink(const char *path);
HOST("fileSystem") int host_file_system(const char *path);
HOST("realPath") int host_real_path(const char *path, char *resolved, unsigned length);
HOST("release") int host_release(char *buffer, unsigned length);
HOST("processId") int host_process_id(void);
// Reads a whole file, decompressing it if it is compressed, into memory that the caller frees.
HOST("load") int host_load(const char *path, char **content);

static int result(int value) {
  if (value >= 0) return value;
  errno = -value;
  return -1;
}

static int unsupported(void) {
  errno = EOPNOTSUPP;
  return -1;
}

long linux_syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  int value;
  switch (number) {
    case __NR_bpf: {
      const int command = va_arg(list, int);
      void *attr = va_arg(list, void *);
      value = host_bpf(command, attr, va_arg(list, unsigned));
      break;
    }
    case __NR_perf_event_open: {
      void *attr = va_arg(list, void *);
      const int pid = va_arg(list, int), cpu = va_arg(list, int), group = va_arg(list, int);
      value = host_perf_event_open(attr, pid, cpu, group, va_arg(list, unsigned long));
      break;
    }
    case __NR_dup3: {
      const int fd = va_arg(list, int);
      value = host_replace(fd, va_arg(list, int));
      break;
    }
    case __NR_memfd_create:
      // Only to hold a descriptor's number until a map takes it.
      value = host_placeholder();
      break;
    default:
      value = -ENOSYS;
  }
  va_end(list);
  return result(value);
}

// Only for reading: what libbpf writes are probes in the way of kernels before 4.17.
int linux_open(const char *path, int flags, ...) {
  if ((flags & O_ACCMODE) == O_WRONLY) return unsupported();
  return result(host_open(path));
}

int linux_close(int fd) { return result(host_close(fd)); }

ssize_t linux_read(int fd, void *buffer, size_t length) { return result(host_read(fd, buffer, length)); }

ssize_t linux_write(int fd, const void *buffer, size_t length) {
  (void)fd, (void)buffer, (void)length;
  return unsupported();
}

int linux_fstat(int fd, struct stat *status) {
  memset(status, 0, sizeof *status);
  const int size = host_size(fd);
  if (size < 0) return result(size);
  status->st_size = size;
  return 0;
}

int linux_fcntl(int fd, int command, ...) {
  if (command != F_DUPFD_CLOEXEC) return unsupported();
  va_list list;
  va_start(list, command);
  const int minimum = va_arg(list, int);
  va_end(list);
  return result(host_duplicate(fd, minimum));
}

int linux_access(const char *path, int mode) { return result(host_access(path, mode)); }

int linux_mkdir(const char *path, mode_t mode) {
  (void)mode;
  return result(host_make_directory(path));
}

int linux_unlink(const char *path) { return result(host_unlink(path)); }

int statfs(const char *path, struct statfs *status) {
  // Magic numbers use all 32 bits, so the host returns success alone and BPF's file system is told by 1.
  const int is_bpf = host_file_system(path);
  if (is_bpf < 0) return result(is_bpf);
  status->f_type = is_bpf ? (long)0xcafe4a11 : 0;
  return 0;
}

char *linux_realpath(const char *path, char *resolved) {
  return result(host_real_path(path, resolved, 4096)) < 0 ? NULL : resolved;
}

int linux_getpid(void) { return host_process_id(); }

// The kernel decides what is allowed; libbpf asks only to explain a failure.
int linux_geteuid(void) { return 0; }

// BPF maps are rounded to pages of the kernel, WebAssembly's are 64 KiB. arm64 kernels with larger ones than
// 4096 would refuse the ring buffers that libbpf rounds to this.
long linux_sysconf(int name) {
  (void)name;
  return 4096;
}

int linux_getpagesize(void) { return 4096; }

int linux_strerror_r(int error, char *buffer, size_t length) {
  snprintf(buffer, length, "error %d", error);
  return 0;
}

int uname(struct utsname *name) {
  memset(name, 0, sizeof *name);
  return result(host_release(name->release, sizeof name->release));
}

// Memory -------------------------------------------------------------------------------------------------

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
  (void)protection;
  // A map's initial contents stay what they are; the live ones are mapped outside linear memory.
  if (flags & MAP_FIXED) return address;
  const size_t rounded = (length + 4095) & ~(size_t)4095;
  char *memory = rounded >= length && rounded > 0 ? aligned_alloc(4096, rounded) : NULL;
  if (!memory) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  memset(memory, 0, rounded);
  if (flags & MAP_ANONYMOUS) return memory;
  // A private mapping of a file, which is read: the kernel's BTF.
  int failure = offset == 0 && (flags & MAP_PRIVATE) ? 0 : EOPNOTSUPP;
  for (size_t done = 0; done < length && !failure;) {
    const int got = host_read(fd, memory + done, length - done);
    if (got > 0)
      done += got;
    else
      failure = got < 0 ? -got : EIO;
  }
  if (!failure) return memory;
  free(memory);
  errno = failure;
  return MAP_FAILED;
}

int munmap(void *address, size_t length) {
  (void)length;
  free(address);
  return 0;
}

// The limit counts nothing since Linux 5.11.
int getrlimit(int resource, struct rlimit *limit) {
  (void)resource;
  limit->rlim_cur = limit->rlim_max = RLIM_INFINITY;
  return 0;
}

int setrlimit(int resource, const struct rlimit *limit) {
  (void)resource, (void)limit;
  return 0;
}

// Files as streams ---------------------------------------------------------------------------------------

struct stream {
  char *content;
  size_t length, position;
};

static ssize_t stream_read(void *cookie, char *buffer, size_t length) {
  struct stream *stream = cookie;
  const size_t rest = stream->length - stream->position;
  if (length > rest) length = rest;
  memcpy(buffer, stream->content + stream->position, length);
  stream->position += length;
  return length;
}

static int stream_seek(void *cookie, off_t *offset, int whence) {
  struct stream *stream = cookie;
  const off_t base = whence == SEEK_SET ? 0 : whence == SEEK_CUR ? (off_t)stream->position : (off_t)stream->length;
  if (base + *offset < 0 || base + *offset > (off_t)stream->length) return -1;
  *offset = base + *offset;
  stream->position = *offset;
  return 0;
}

static int stream_close(void *cookie) {
  struct stream *stream = cookie;
  free(stream->content);
  free(stream);
  return 0;
}

FILE *linux_fopen(const char *path, const char *mode) {
  (void)mode;
  struct stream *stream = calloc(1, sizeof *stream);
  if (!stream) {
    errno = ENOMEM;
    return NULL;
  }
  const int length = host_load(path, &stream->content);
  if (length < 0) {
    free(stream);
    errno = -length;
    return NULL;
  }
  stream->length = length;
  FILE *file = fopencookie(stream, "r", (cookie_io_functions_t){stream_read, NULL, stream_seek, stream_close});
  if (!file) stream_close(stream);
  return file;
}

gzFile gzopen(const char *path, const char *mode) { return linux_fopen(path, mode); }

char *gzgets(gzFile file, char *buffer, int length) { return fgets(buffer, length, file); }

int gzclose(gzFile file) { return fclose(file); }

// Others -------------------------------------------------------------------------------------------------

int ioctl(int fd, unsigned long request, ...) {
  va_list list;
  va_start(list, request);
  const unsigned value = va_arg(list, unsigned);
  va_end(list);
  return result(host_ioctl(fd, request, value));
}

// Of the sources that compile but are not used.
int epoll_create1(int flags) { return (void)flags, unsupported(); }

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event) {
  return (void)epoll, (void)operation, (void)fd, (void)event, unsupported();
}

int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout) {
  return (void)epoll, (void)events, (void)count, (void)timeout, unsupported();
}

unsigned if_nametoindex(const char *name) { return (void)name, unsupported(), 0; }
