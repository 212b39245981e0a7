// SPDX-License-Identifier: MIT
//
// fsx: random operations on a few files of the file system under test, checked against a model in memory.
//
// `fsx --target DIR [--seed N] [--ops N] [--files N] [--size BYTES] [--no-direct]`. Each file is open through
// several descriptors (and O_DIRECT ones where the file system has them); each operation changes the file and the
// model alike, and every read, mapped or not, must return what the model holds. On a difference: the last
// operations, the place, exit 1. The same seed repeats the same operations.

#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES = 8, DESCRIPTORS = 3, ALIGNMENT = 4096, LOG = 40, LINE = 120 };

struct file {
  char path[PATH_MAX];
  unsigned char *model;
  size_t size;
  int descriptors[DESCRIPTORS];
  int direct;  // -1 where O_DIRECT is refused
};

static struct file files[FILES];
static int file_count = 3;
static size_t largest = 256 << 10;
static unsigned char *scratch;  // aligned, of the largest size
static char log_lines[LOG][LINE];
static long operation;
static uint64_t seed = 1, state;

// xorshift64*: small, and the same everywhere.
static uint64_t random_bits(void) {
  state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
  return state * 0x2545F4914F6CDD1DULL;
}
static size_t below(size_t limit) { return limit ? random_bits() % limit : 0; }

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  printf("# seed %llu, operation %ld: ", (unsigned long long)seed, operation);
  vprintf(format, arguments);
  printf("\n# the last operations, oldest first:\n");
  for (long i = operation >= LOG ? operation - LOG + 1 : 1; i <= operation; i++)
    printf("#   %ld %s\n", i, log_lines[i % LOG]);
  exit(1);
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(log_lines[operation % LOG], LINE, format, arguments);
}

#define CHECK(call)                                                          \
  ({                                                                         \
    long value_ = (long)(call);                                              \
    if (value_ == -1) fail("%s: %s", #call, strerror(errno));                \
    value_;                                                                  \
  })

static int any_descriptor(const struct file *file) { return file->descriptors[below(DESCRIPTORS)]; }

// A place and a length; often at page borders, often short.
static void range(size_t limit, size_t *offset, size_t *length) {
  *offset = below(limit);
  if (below(3) == 0) *offset &= ~(size_t)(ALIGNMENT - 1);
  size_t most = limit - *offset;
  *length = below(4) == 0 ? below(most) : below(most < 16384 ? most : 16384);
  if (below(4) == 0 && most > ALIGNMENT) *length = (*length + ALIGNMENT) & ~(size_t)(ALIGNMENT - 1);
  if (*length > most) *length = most;
  if (*length == 0) *length = 1;
}

static void fill(unsigned char *bytes, size_t length) {
  uint64_t mark = random_bits() | 1;
  for (size_t i = 0; i < length; i++) bytes[i] = (unsigned char)(mark >> (i % 8 * 8)) ^ (unsigned char)(i >> 8);
}

static void compare(const struct file *file, const unsigned char *bytes, size_t offset, size_t length,
                    const char *how) {
  if (memcmp(bytes, file->model + offset, length) == 0) return;
  size_t first = 0, different = 0;
  for (size_t i = 0; i < length; i++)
    if (bytes[i] != file->model[offset + i] && different++ == 0) first = i;
  fail("%s of %s at %#zx+%#zx: %zu bytes differ, the first at %#zx: %#x instead of %#x", how, file->path, offset,
       length, different, offset + first, bytes[first], file->model[offset + first]);
}

static void grow(struct file *file, size_t size) {
  if (size > file->size) file->size = size;  // beyond size the model is always zero
}

static void check_size(const struct file *file) {
  struct stat by_path, by_descriptor;
  CHECK(stat(file->path, &by_path));
  CHECK(fstat(any_descriptor(file), &by_descriptor));
  if ((size_t)by_path.st_size != file->size || by_path.st_size != by_descriptor.st_size)
    fail("size of %s is %lld by path, %lld by descriptor instead of %zu", file->path, (long long)by_path.st_size,
         (long long)by_descriptor.st_size, file->size);
}

static void read_back(struct file *file, int fd, size_t offset, size_t length, const char *how) {
  size_t expected = offset >= file->size ? 0 : file->size - offset < length ? file->size - offset : length;
  ssize_t got = CHECK(pread(fd, scratch, length, (off_t)offset));
  if ((size_t)got != expected)
    fail("%s of %s at %#zx+%#zx gives %zd bytes instead of %zu", how, file->path, offset, length, got, expected);
  compare(file, scratch, offset, expected, how);
}

static void do_read(struct file *file) {
  size_t offset, length;
  range(largest, &offset, &length);
  note("read %s %#zx+%#zx", file->path, offset, length);
  read_back(file, any_descriptor(file), offset, length, "read");
}

static void do_write(struct file *file) {
  size_t offset, length;
  range(largest, &offset, &length);
  note("write %s %#zx+%#zx", file->path, offset, length);
  fill(scratch, length);
  ssize_t written = CHECK(pwrite(any_descriptor(file), scratch, length, (off_t)offset));
  if ((size_t)written != length) fail("write gives %zd instead of %zu", written, length);
  memcpy(file->model + offset, scratch, length);
  grow(file, offset + length);
}

static void do_append(struct file *file) {
  size_t length = 1 + below(5000);
  if (file->size + length > largest) return do_read(file);
  note("append %s %#zx", file->path, length);
  fill(scratch, length);
  int fd = (int)CHECK(open(file->path, O_WRONLY | O_APPEND));
  ssize_t written = CHECK(write(fd, scratch, length));
  CHECK(close(fd));
  if ((size_t)written != length) fail("append gives %zd instead of %zu", written, length);
  memcpy(file->model + file->size, scratch, length);
  file->size += length;
}

static void do_direct_read(struct file *file) {
  size_t offset, length;
  range(largest, &offset, &length);
  offset &= ~(size_t)(ALIGNMENT - 1);
  length = (length + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
  note("direct read %s %#zx+%#zx", file->path, offset, length);
  if (file->direct >= 0) read_back(file, file->direct, offset, length, "direct read");
}

static void do_direct_write(struct file *file) {
  size_t offset, length;
  range(largest - 2 * ALIGNMENT, &offset, &length);
  offset &= ~(size_t)(ALIGNMENT - 1);
  length = (length + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
  note("direct write %s %#zx+%#zx", file->path, offset, length);
  if (file->direct < 0) return;
  fill(scratch, length);
  ssize_t written = CHECK(pwrite(file->direct, scratch, length, (off_t)offset));
  if ((size_t)written != length) fail("direct write gives %zd instead of %zu", written, length);
  memcpy(file->model + offset, scratch, length);
  grow(file, offset + length);
}

// Page-aligned part of the file that holds a random range within its size.
static unsigned char *map_range(struct file *file, int protection, size_t *offset, size_t *length, size_t *skip) {
  range(file->size, offset, length);
  *skip = *offset % ALIGNMENT;
  void *map = mmap(NULL, *skip + *length, protection, MAP_SHARED, any_descriptor(file), (off_t)(*offset - *skip));
  if (map == MAP_FAILED) fail("mmap: %s", strerror(errno));
  return map;
}

static void do_map_read(struct file *file) {
  size_t offset, length, skip;
  if (file->size == 0) return do_write(file);
  unsigned char *map = map_range(file, PROT_READ, &offset, &length, &skip);
  note("map read %s %#zx+%#zx", file->path, offset, length);
  compare(file, map + skip, offset, length, "map read");
  // The last page shows zeroes behind the end.
  if (offset + length == file->size)
    for (size_t i = offset + length; i % ALIGNMENT; i++)
      if (map[skip + i - offset])
        fail("map of %s shows %#x behind its end, at %#zx", file->path, map[skip + i - offset], i);
  CHECK(munmap(map, skip + length));
}

static void do_map_write(struct file *file) {
  size_t offset, length, skip;
  if (file->size == 0) return do_write(file);
  unsigned char *map = map_range(file, PROT_READ | PROT_WRITE, &offset, &length, &skip);
  bool sync = below(2);
  note("map write %s %#zx+%#zx%s", file->path, offset, length, sync ? " msync" : "");
  fill(file->model + offset, length);
  memcpy(map + skip, file->model + offset, length);
  if (sync) CHECK(msync(map, skip + length, MS_SYNC));
  CHECK(munmap(map, skip + length));
}

static void set_size(struct file *file, size_t size) {
  if (size < file->size) memset(file->model + size, 0, file->size - size);
  file->size = size;
}

static void do_truncate(struct file *file) {
  size_t size = below(3) == 0 ? below(largest) : file->size ? below(file->size) : below(largest);
  bool by_path = below(2);
  note("%s %s %#zx, was %#zx", by_path ? "truncate" : "ftruncate", file->path, size, file->size);
  CHECK(by_path ? truncate(file->path, (off_t)size) : ftruncate(any_descriptor(file), (off_t)size));
  set_size(file, size);
}

static void do_open_truncate(struct file *file) {
  if (below(10)) return do_write(file);
  note("open with O_TRUNC %s, was %#zx", file->path, file->size);
  CHECK(close((int)CHECK(open(file->path, O_RDWR | O_TRUNC))));
  set_size(file, 0);
}

static void do_fallocate(struct file *file, int mode, const char *name) {
  size_t offset, length;
  range(largest, &offset, &length);
  note("%s %s %#zx+%#zx", name, file->path, offset, length);
  CHECK(fallocate(any_descriptor(file), mode, (off_t)offset, (off_t)length));
  if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) memset(file->model + offset, 0, length);
  if (!(mode & FALLOC_FL_KEEP_SIZE)) grow(file, offset + length);
  else if (offset + length > file->size) {
    size_t from = offset > file->size ? offset : file->size;
    memset(file->model + from, 0, offset + length - from);
  }
}
static void do_allocate(struct file *file) { do_fallocate(file, 0, "fallocate"); }
static void do_keep_size(struct file *file) { do_fallocate(file, FALLOC_FL_KEEP_SIZE, "fallocate keep size"); }
static void do_punch(struct file *file) {
  do_fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch hole");
}
static void do_zero(struct file *file) { do_fallocate(file, FALLOC_FL_ZERO_RANGE, "zero range"); }
static void do_zero_keep(struct file *file) {
  do_fallocate(file, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, "zero range keep size");
}

static void do_copy(struct file *file) {
  struct file *source = &files[below((size_t)file_count)];
  if (source->size == 0) return do_write(file);
  size_t from, length;
  range(source->size, &from, &length);
  size_t to = below(largest - length);
  if (source == file && from < to + length && to < from + length) return do_write(file);
  note("copy_file_range %s %#zx+%#zx to %s %#zx", source->path, from, length, file->path, to);
  for (size_t done = 0; done < length;) {
    off_t in = (off_t)(from + done), out = (off_t)(to + done);
    ssize_t copied = CHECK(
        copy_file_range(any_descriptor(source), &in, any_descriptor(file), &out, length - done, 0));
    if (copied <= 0) fail("copy_file_range gives %zd with %zu to go", copied, length - done);
    done += (size_t)copied;
  }
  memmove(file->model + to, source->model + from, length);
  grow(file, to + length);
}

static void do_sync(struct file *file) {
  size_t kind = below(3);
  note("%s %s", kind == 0 ? "fsync" : kind == 1 ? "fdatasync" : "sync_file_range", file->path);
  int fd = any_descriptor(file);
  CHECK(kind == 0 ? fsync(fd) : kind == 1 ? fdatasync(fd) : sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
}

static void do_drop(struct file *file) {
  note("drop the pages of %s", file->path);
  int fd = any_descriptor(file);
  CHECK(fdatasync(fd));
  int error = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  if (error) fail("posix_fadvise: %s", strerror(error));
}

static void open_descriptors(struct file *file) {
  for (int i = 0; i < DESCRIPTORS; i++) file->descriptors[i] = (int)CHECK(open(file->path, O_RDWR));
}

static void do_reopen(struct file *file) {
  note("close and open %s", file->path);
  int which = (int)below(DESCRIPTORS);
  CHECK(close(file->descriptors[which]));
  file->descriptors[which] = (int)CHECK(open(file->path, O_RDWR));
}

static void do_seek(struct file *file) {
  size_t offset = below(largest);
  note("SEEK_DATA and SEEK_HOLE %s %#zx", file->path, offset);
  int fd = any_descriptor(file);
  off_t data = lseek(fd, (off_t)offset, SEEK_DATA);
  if (data == -1 && errno != ENXIO) fail("SEEK_DATA: %s", strerror(errno));
  // What is skipped as a hole must read as zeroes.
  size_t end = data == -1 ? file->size : (size_t)data;
  for (size_t i = offset; i < end && i < file->size; i++)
    if (file->model[i])
      fail("SEEK_DATA of %s at %#zx gives %lld, skipping data at %#zx", file->path, offset, (long long)data, i);
  off_t hole = lseek(fd, (off_t)offset, SEEK_HOLE);
  if (offset >= file->size ? hole != -1 || errno != ENXIO : hole < (off_t)offset || (size_t)hole > file->size)
    fail("SEEK_HOLE of %s at %#zx of %#zx gives %lld", file->path, offset, file->size, (long long)hole);
}

static void do_rename(struct file *file) {
  char other[PATH_MAX + 8];
  note("rename %s away and back", file->path);
  snprintf(other, sizeof other, "%s.moved", file->path);
  CHECK(rename(file->path, other));
  CHECK(rename(other, file->path));
}

static void do_check(struct file *file) {
  note("compare all of %s", file->path);
  check_size(file);
  read_back(file, any_descriptor(file), 0, largest, "full read");
}

static const struct {
  void (*run)(struct file *file);
  int weight;
} actions[] = {
    {do_read, 12},       {do_write, 16},   {do_append, 4},        {do_direct_read, 4}, {do_direct_write, 4},
    {do_map_read, 8},    {do_map_write, 10}, {do_truncate, 6},    {do_open_truncate, 2}, {do_allocate, 2},
    {do_keep_size, 2},   {do_punch, 5},    {do_zero, 3},          {do_zero_keep, 2},   {do_copy, 6},
    {do_sync, 2},        {do_drop, 3},     {do_reopen, 3},        {do_seek, 2},        {do_rename, 1},
    {do_check, 1},
};
enum { ACTIONS = sizeof actions / sizeof *actions };

int main(int count, char **arguments) {
  const char *target = NULL;
  long operations = 20000;
  bool direct = true;
  for (int i = 1; i < count; i++) {
    bool last = i + 1 == count;
    if (!strcmp(arguments[i], "--no-direct")) direct = false;
    else if (!strcmp(arguments[i], "--target") && !last) target = arguments[++i];
    else if (!strcmp(arguments[i], "--seed") && !last) seed = strtoull(arguments[++i], NULL, 0);
    else if (!strcmp(arguments[i], "--ops") && !last) operations = atol(arguments[++i]);
    else if (!strcmp(arguments[i], "--files") && !last) file_count = atoi(arguments[++i]);
    else if (!strcmp(arguments[i], "--size") && !last) largest = strtoull(arguments[++i], NULL, 0);
    else target = NULL, i = count;
  }
  if (!target || file_count < 1 || file_count > FILES || largest < 16 * ALIGNMENT) {
    fprintf(stderr, "usage: fsx --target DIR [--seed N] [--ops N] [--files 1-%d] [--size BYTES] [--no-direct]\n",
            FILES);
    return 2;
  }
  state = seed * 0x9E3779B97F4A7C15ULL + 1;
  largest &= ~(size_t)(ALIGNMENT - 1);
  scratch = aligned_alloc(ALIGNMENT, largest + ALIGNMENT);
  int total = 0;
  for (int i = 0; i < ACTIONS; i++) total += actions[i].weight;
  for (int i = 0; i < file_count; i++) {
    struct file *file = &files[i];
    snprintf(file->path, sizeof file->path, "%s/fsx.%llu.%d", target, (unsigned long long)seed, i);
    file->model = calloc(1, largest + ALIGNMENT);
    CHECK(close((int)CHECK(open(file->path, O_CREAT | O_EXCL | O_RDWR, 0644))));
    open_descriptors(file);
    file->direct = direct ? open(file->path, O_RDWR | O_DIRECT) : -1;
    if (direct && file->direct < 0 && errno != EINVAL) fail("open with O_DIRECT: %s", strerror(errno));
  }
  for (operation = 1; operation <= operations; operation++) {
    size_t pick = below((size_t)total);
    int action = 0;
    while (pick >= (size_t)actions[action].weight) pick -= (size_t)actions[action++].weight;
    struct file *file = &files[below((size_t)file_count)];
    actions[action].run(file);
    if (below(20) == 0) check_size(file);
  }
  operation = operations;
  for (int i = 0; i < file_count; i++) {
    do_check(&files[i]);
    for (int j = 0; j < DESCRIPTORS; j++) CHECK(close(files[i].descriptors[j]));
    if (files[i].direct >= 0) CHECK(close(files[i].direct));
    CHECK(unlink(files[i].path));
  }
  printf("# seed %llu: %ld operations on %d files agree%s\n", (unsigned long long)seed, operations, file_count,
         direct && files[0].direct < 0 ? ", O_DIRECT refused" : "");
  return 0;
}
