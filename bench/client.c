// SPDX-License-Identifier: MIT
/*
 * The client of the benchmarks: does one kind of file operation over and over, times each, and
 * prints what it saw as one JSON object. In C, because what it costs itself must stay far below
 * what it measures.
 *
 *   client --prepare DIR                 makes the files that the operations use
 *   client --op OP --dir DIR [options]   OP: getattr stat read write open create readdir, or one step of
 *                                        fileserver webserver varmail (one process only)
 *     --bytes N        size of a read or write (4096)
 *     --sequential     reads and writes in order instead of at random multiples of the size
 *     --o-direct       opens with O_DIRECT
 *     --seconds S      how long to measure (1), or
 *     --count N        how many operations each process does
 *     --warmup S       seconds of the same before measuring (0.1); reads are verified then
 *     --processes N    how many do it at once, started together (1)
 *     --cpus A,B,...   process number i stays on the (i mod n)th of these; without: anywhere
 *     --handshake      says "ready" before measuring and "done" after it, and each time waits
 *                      for a byte on standard input: whoever started it can look at the server
 *
 * Data are a function of their place in the file, so that what is read can be verified.
 * Exit status: 0; 1 when an operation failed or gave wrong data; 2 for wrong usage.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
  DATA_BYTES = 64 << 20,
  WRITE_BYTES = 64 << 20,
  ENTRIES = 2000,
  MOST_PROCESSES = 1024,
  MOST_CPUS = 1024,
  /* Of all processes together; what comes beyond is counted, not kept. */
  MOST_SAMPLES = 4 << 20,
  DIRENTS_BYTES = 32768,
  /* The mixes' files: how many, their size at first, and the size from which on they start again. */
  MIX_FILES = 200,
  MIX_PIECE = 16 << 10,
  MIX_LARGEST = 128 << 10,
};

static const uint64_t READ_SEED = 0x5eedf00d;
static const uint64_t WRITE_SEED = 0x3c0ffee5;

struct options {
  const char *op, *dir;
  size_t bytes;
  int sequential, o_direct, handshake;
  double seconds, warmup;
  uint64_t count;
  int processes;
  int cpus[MOST_CPUS], cpu_count;
};

/* What one process found; in memory shared with the parent. */
struct outcome {
  uint64_t count, sampled, started, ended;
  uint64_t cpu_ns;
  long voluntary, involuntary;
  uint64_t verified;
  char error[256];
};

static struct options options = { .bytes = 4096, .seconds = 1, .warmup = 0.1, .processes = 1 };

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static uint64_t word_at(uint64_t offset, uint64_t seed) {
  return (offset / 8 + 1) * 0x9e3779b97f4a7c15 ^ seed;
}

static void fill(uint64_t *buffer, size_t bytes, uint64_t offset, uint64_t seed) {
  for (size_t i = 0; i < bytes / 8; i++) buffer[i] = word_at(offset + i * 8, seed);
}

static int matches(const uint64_t *buffer, size_t bytes, uint64_t offset, uint64_t seed) {
  for (size_t i = 0; i < bytes / 8; i++)
    if (buffer[i] != word_at(offset + i * 8, seed)) return 0;
  return 1;
}

/* One operation and what it works on ------------------------------------------------------------ */

struct work {
  int index;
  int fd;
  char path[4096];
  uint64_t *buffer;
  uint64_t random;
  /* The part of the file that this process uses. */
  uint64_t begin, blocks, block;
  uint64_t offset;
  /* The mixes: how many steps were done, and whether what they read is looked at. */
  uint64_t step;
  int look;
  struct outcome *outcome;
};

static int failed(struct work *work, const char *what) {
  snprintf(work->outcome->error, sizeof work->outcome->error, "%.128s: %s", what, strerror(errno));
  return -1;
}

static int wrong(struct work *work, const char *what) {
  snprintf(work->outcome->error, sizeof work->outcome->error, "%s", what);
  return -1;
}

static uint64_t next_random(struct work *work) {
  work->random ^= work->random << 13;
  work->random ^= work->random >> 7;
  work->random ^= work->random << 17;
  return work->random;
}

static void next_offset(struct work *work) {
  if (options.sequential) work->block = work->block + 1 == work->blocks ? 0 : work->block + 1;
  else work->block = next_random(work) % work->blocks;
  work->offset = work->begin + work->block * options.bytes;
}

static int do_getattr(struct work *work) {
  struct stat st;
  if (fstat(work->fd, &st) < 0) return failed(work, "fstat");
  return st.st_size == DATA_BYTES ? 0 : wrong(work, "fstat: wrong size");
}

static int do_stat(struct work *work) {
  struct stat st;
  if (stat(work->path, &st) < 0) return failed(work, "stat");
  return st.st_size == DATA_BYTES ? 0 : wrong(work, "stat: wrong size");
}

static int do_read(struct work *work) {
  next_offset(work);
  ssize_t got = pread(work->fd, work->buffer, options.bytes, work->offset);
  if (got < 0) return failed(work, "read");
  return (size_t)got == options.bytes ? 0 : wrong(work, "read: short");
}

static int verify_read(struct work *work) {
  if (do_read(work) < 0) return -1;
  if (!matches(work->buffer, options.bytes, work->offset, READ_SEED)) return wrong(work, "read: wrong data");
  return 0;
}

static int do_write(struct work *work) {
  next_offset(work);
  ssize_t put = pwrite(work->fd, work->buffer, options.bytes, work->offset);
  if (put < 0) return failed(work, "write");
  return (size_t)put == options.bytes ? 0 : wrong(work, "write: short");
}

/* The buffer is the same for all offsets, so that filling it is not measured. */
static int verify_write(struct work *work) {
  if (do_write(work) < 0) return -1;
  uint64_t first = work->buffer[0];
  memset(work->buffer, 0, options.bytes);
  ssize_t got = pread(work->fd, work->buffer, options.bytes, work->offset);
  if (got < 0) return failed(work, "reading back");
  if ((size_t)got != options.bytes || work->buffer[0] != first ||
      !matches(work->buffer, options.bytes, 0, WRITE_SEED + work->index))
    return wrong(work, "reading back: not what was written");
  return 0;
}

static int do_open(struct work *work) {
  int fd = open(work->path, O_RDONLY);
  if (fd < 0) return failed(work, "open");
  return close(fd) < 0 ? failed(work, "close") : 0;
}

static int do_create(struct work *work) {
  int fd = open(work->path, O_CREAT | O_EXCL | O_WRONLY, 0644);
  if (fd < 0) return failed(work, "create");
  if (close(fd) < 0) return failed(work, "close");
  return unlink(work->path) < 0 ? failed(work, "unlink") : 0;
}

static int verify_create(struct work *work) {
  struct stat st;
  if (do_create(work) < 0) return -1;
  if (stat(work->path, &st) == 0 || errno != ENOENT) return wrong(work, "unlink: the file is still there");
  return 0;
}

static int do_readdir(struct work *work) {
  int fd = open(work->path, O_RDONLY | O_DIRECTORY);
  if (fd < 0) return failed(work, "open directory");
  int entries = 0;
  for (;;) {
    long got = syscall(SYS_getdents64, fd, work->buffer, DIRENTS_BYTES);
    if (got < 0) return failed(work, "getdents64");
    if (got == 0) break;
    for (long at = 0; at < got; entries++) at += *(uint16_t *)((char *)work->buffer + at + 16);
  }
  close(fd);
  return entries == ENTRIES + 2 ? 0 : wrong(work, "readdir: wrong number of entries");
}

/* Steps like those of filebench's personalities: the same calls in the same proportions, on fewer files ---------- */

static int mix_open(struct work *work, const char *name, int flags) {
  char path[4200];
  snprintf(path, sizeof path, "%s/%s", work->path, name);
  int fd = open(path, flags, 0644);
  return fd < 0 ? failed(work, name) : fd;
}

static const char *any_file(struct work *work) {
  static char name[32];
  snprintf(name, sizeof name, "file-%03d", (int)(next_random(work) % MIX_FILES));
  return name;
}

static int mix_read(struct work *work, const char *name) {
  int fd = mix_open(work, name, O_RDONLY);
  if (fd < 0) return -1;
  uint64_t at = 0;
  ssize_t got;
  while ((got = read(fd, work->buffer, MIX_LARGEST)) > 0) {
    if (work->look && !matches(work->buffer, got, at, READ_SEED)) return close(fd), wrong(work, "mix: wrong data");
    at += got;
  }
  if (got < 0) return close(fd), failed(work, "mix: read");
  close(fd);
  return at >= MIX_PIECE && at % MIX_PIECE == 0 ? 0 : wrong(work, "mix: wrong size");
}

/* Appends a piece, or starts again when the file is large enough. */
static int mix_append(struct work *work, const char *name, int flags, int sync) {
  int fd = mix_open(work, name, O_WRONLY | flags);
  if (fd < 0) return -1;
  off_t size = lseek(fd, 0, SEEK_END);
  if (size >= MIX_LARGEST) size = ftruncate(fd, 0);
  if (size < 0) return close(fd), failed(work, "mix: size");
  fill(work->buffer, MIX_PIECE, size, READ_SEED);
  if (pwrite(fd, work->buffer, MIX_PIECE, size) != MIX_PIECE) return close(fd), failed(work, "mix: write");
  if (sync && fsync(fd) < 0) return close(fd), failed(work, "mix: fsync");
  return close(fd) < 0 ? failed(work, "mix: close") : 0;
}

static int mix_unlink(struct work *work) {
  char path[4200];
  snprintf(path, sizeof path, "%s/new", work->path);
  return unlink(path) < 0 ? failed(work, "mix: unlink") : 0;
}

static int mix_stat(struct work *work) {
  char path[4200];
  struct stat st;
  snprintf(path, sizeof path, "%s/%s", work->path, any_file(work));
  if (stat(path, &st) < 0) return failed(work, "mix: stat");
  return st.st_size % MIX_PIECE == 0 ? 0 : wrong(work, "mix: wrong size");
}

/* Create and write, append, read the whole, stat, delete. */
static int do_fileserver(struct work *work) {
  switch (work->step++ % 5) {
  case 0: return mix_append(work, "new", O_CREAT, 0);
  case 1: return mix_append(work, any_file(work), 0, 0);
  case 2: return mix_read(work, any_file(work));
  case 3: return mix_stat(work);
  default: return mix_unlink(work);
  }
}

/* Ten files read as a whole, one append to the log. */
static int do_webserver(struct work *work) {
  return work->step++ % 11 == 10 ? mix_append(work, "log", 0, 0) : mix_read(work, any_file(work));
}

/* A mail comes, one is read and answered, one is read, one is deleted; all that is written is on disk at once. */
static int do_varmail(struct work *work) {
  switch (work->step++ % 5) {
  case 0: return mix_append(work, "new", O_CREAT, 1);
  case 1: return mix_read(work, any_file(work));
  case 2: return mix_append(work, any_file(work), 0, 1);
  case 3: return mix_read(work, any_file(work));
  default: return mix_unlink(work);
  }
}

static int looking(struct work *work, int (*run)(struct work *)) {
  work->look = 1;
  int bad = run(work);
  work->look = 0;
  return bad;
}

static int verify_fileserver(struct work *work) { return looking(work, do_fileserver); }
static int verify_webserver(struct work *work) { return looking(work, do_webserver); }
static int verify_varmail(struct work *work) { return looking(work, do_varmail); }

static const struct operation {
  const char *name, *file;
  int flags; /* of the descriptor it works on; -1: none, it works on the path */
  int (*run)(struct work *);
  int (*verify)(struct work *); /* does it once and looks closely; where `run` sees all itself: the same */
} operations[] = {
  { "getattr", "data", O_RDONLY, do_getattr, do_getattr },
  { "stat", "data", -1, do_stat, do_stat },
  { "read", "data", O_RDONLY, do_read, verify_read },
  { "write", "written", O_RDWR, do_write, verify_write },
  { "open", "data", -1, do_open, do_open },
  { "create", "made/file", -1, do_create, verify_create },
  { "readdir", "many", -1, do_readdir, do_readdir },
  { "fileserver", "mix", -1, do_fileserver, verify_fileserver },
  { "webserver", "mix", -1, do_webserver, verify_webserver },
  { "varmail", "mix", -1, do_varmail, verify_varmail },
};

/* One process ------------------------------------------------------------------------------------ */

static int begin_work(struct work *work, const struct operation *operation) {
  int n = snprintf(work->path, sizeof work->path, "%s/%s", options.dir, operation->file);
  if (operation->run == do_create) snprintf(work->path + n, sizeof work->path - n, "-%d", work->index);
  if (posix_memalign((void **)&work->buffer, 4096, options.bytes > MIX_LARGEST ? options.bytes : MIX_LARGEST))
    return wrong(work, "no memory");
  work->random = 0x2545f4914f6cdd1d * (work->index + 1);
  if (operation->run == do_write) {
    fill(work->buffer, options.bytes, 0, WRITE_SEED + work->index);
    /* Each its own part: what one wrote can be verified while the others write. */
    uint64_t part = WRITE_BYTES / options.processes / options.bytes;
    work->begin = work->index * part * options.bytes;
    work->blocks = part;
  } else {
    work->blocks = DATA_BYTES / options.bytes;
  }
  work->block = 0;
  if (strcmp(operation->file, "mix") == 0 && access(work->path, F_OK) == 0) {
    char left[4200];
    snprintf(left, sizeof left, "%s/new", work->path);
    unlink(left);
  }
  if (operation->flags < 0) return 0;
  work->fd = open(work->path, operation->flags | (options.o_direct ? O_DIRECT : 0));
  return work->fd < 0 ? failed(work, work->path) : 0;
}

static int verified(struct work *work, const struct operation *operation) {
  if (operation->verify(work) < 0) return -1;
  work->outcome->verified++;
  return 0;
}

static uint64_t nanoseconds(struct timeval time) {
  return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_usec * 1000;
}

static int process(int index, const struct operation *operation, struct outcome *outcome, uint32_t *samples,
                   uint64_t most, int ready, int go) {
  if (options.cpu_count > 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(options.cpus[index % options.cpu_count], &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0) return perror("sched_setaffinity"), 1;
  }
  struct work work = { .index = index, .fd = -1, .outcome = outcome };
  int bad = begin_work(&work, operation);
  uint64_t until = now() + (uint64_t)(options.warmup * 1e9);
  if (!bad) bad = verified(&work, operation);
  while (!bad && now() < until) bad = verified(&work, operation);

  char byte = 'r';
  if (write(ready, &byte, 1) != 1) return 1;
  if (read(go, &byte, 1) != 0) return 1;
  if (bad) return 1;

  struct rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  uint64_t begin = now(), last = begin, count = 0;
  uint64_t deadline = options.count > 0 ? UINT64_MAX : begin + (uint64_t)(options.seconds * 1e9);
  uint64_t most_count = options.count > 0 ? options.count : UINT64_MAX;
  while (count < most_count && last < deadline && !bad) {
    bad = operation->run(&work);
    uint64_t time = now(), took = time - last;
    if (count < most) samples[count] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
    last = time;
    count++;
  }
  getrusage(RUSAGE_SELF, &after);
  outcome->started = begin;
  outcome->ended = last;
  outcome->count = count;
  outcome->sampled = count < most ? count : most;
  outcome->cpu_ns = nanoseconds(after.ru_utime) + nanoseconds(after.ru_stime) - nanoseconds(before.ru_utime) -
                    nanoseconds(before.ru_stime);
  outcome->voluntary = after.ru_nvcsw - before.ru_nvcsw;
  outcome->involuntary = after.ru_nivcsw - before.ru_nivcsw;
  /* Once more with a close look. */
  if (!bad) bad = verified(&work, operation);
  return bad ? 1 : 0;
}

/* The parent ------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static uint32_t quantile(const uint32_t *sorted, uint64_t count, double q) {
  uint64_t rank = (uint64_t)(q * count);
  return count == 0 ? 0 : sorted[rank < count ? rank : count - 1];
}

/* What one reading of the clock costs: part of every sample. */
static double clock_cost(void) {
  uint64_t begin = now();
  for (int i = 0; i < 1000; i++) now();
  return (now() - begin) / 1001.0;
}

static void handshake(const char *word) {
  if (!options.handshake) return;
  printf("%s\n", word);
  fflush(stdout);
  char byte;
  if (read(0, &byte, 1) != 1) exit(1);
}

static void *shared(size_t bytes) {
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) {
    perror("mmap");
    exit(1);
  }
  return memory;
}

static int measure(void) {
  const struct operation *operation = NULL;
  for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
    if (strcmp(operations[i].name, options.op) == 0) operation = &operations[i];
  if (operation == NULL) return fprintf(stderr, "client: no operation %s\n", options.op), 2;

  uint64_t most = MOST_SAMPLES / options.processes;
  struct outcome *outcomes = shared(options.processes * sizeof *outcomes);
  uint32_t *samples = shared(most * options.processes * sizeof *samples);
  int ready[2], go[2];
  pid_t pids[MOST_PROCESSES];
  if (pipe(ready) < 0 || pipe(go) < 0) return perror("pipe"), 1;
  for (int i = 0; i < options.processes; i++) {
    pids[i] = fork();
    if (pids[i] < 0) return perror("fork"), 1;
    if (pids[i] == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      close(ready[0]);
      close(go[1]);
      _exit(process(i, operation, &outcomes[i], samples + most * i, most, ready[1], go[0]));
    }
  }
  close(ready[1]);
  close(go[0]);
  char byte;
  for (int i = 0; i < options.processes; i++)
    if (read(ready[0], &byte, 1) != 1) break; /* one died: its exit status tells */
  handshake("ready");
  close(go[1]);
  int bad = 0;
  for (int i = 0; i < options.processes; i++) {
    int status;
    if (waitpid(pids[i], &status, 0) < 0 || status != 0) bad = 1;
  }
  handshake("done");

  uint64_t count = 0, sampled = 0, started = UINT64_MAX, ended = 0, cpu = 0, verified = 0;
  long voluntary = 0, involuntary = 0;
  const char *error = "";
  double sum = 0;
  for (int i = 0; i < options.processes; i++) {
    struct outcome *outcome = &outcomes[i];
    memmove(samples + sampled, samples + most * i, outcome->sampled * sizeof *samples);
    sampled += outcome->sampled;
    count += outcome->count;
    verified += outcome->verified;
    cpu += outcome->cpu_ns;
    voluntary += outcome->voluntary;
    involuntary += outcome->involuntary;
    if (outcome->started < started) started = outcome->started;
    if (outcome->ended > ended) ended = outcome->ended;
    if (outcome->error[0] != 0) error = outcome->error;
  }
  if (bad && error[0] == 0) error = "a client process died";
  qsort(samples, sampled, sizeof *samples, by_value);
  for (uint64_t i = 0; i < sampled; i++) sum += samples[i];
  printf("{\"op\": \"%s\", \"bytes\": %zu, \"processes\": %d, \"count\": %llu, \"sampled\": %llu, ", options.op,
         options.bytes, options.processes, (unsigned long long)count, (unsigned long long)sampled);
  printf("\"elapsedNs\": %llu, \"minNs\": %u, \"p50Ns\": %u, \"p90Ns\": %u, \"p99Ns\": %u, "
         "\"p999Ns\": %u, \"maxNs\": %u, ",
         (unsigned long long)(ended > started ? ended - started : 0), quantile(samples, sampled, 0),
         quantile(samples, sampled, 0.5), quantile(samples, sampled, 0.9), quantile(samples, sampled, 0.99),
         quantile(samples, sampled, 0.999), quantile(samples, sampled, 1));
  printf("\"meanNs\": %.1f, \"clockNs\": %.1f, \"clientCpuNs\": %llu, ", sampled > 0 ? sum / sampled : 0, clock_cost(),
         (unsigned long long)cpu);
  printf("\"voluntarySwitches\": %ld, \"involuntarySwitches\": %ld, \"verified\": %llu, \"error\": ", voluntary,
         involuntary, (unsigned long long)verified);
  if (error[0] == 0) {
    printf("null}\n");
  } else {
    putchar('"');
    for (const char *c = error; *c != 0; c++) putchar(*c == '"' || *c == '\\' || (unsigned char)*c < 32 ? '\'' : *c);
    printf("\"}\n");
  }
  return bad;
}

static int write_pattern(const char *name, uint64_t bytes, uint64_t seed) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", options.dir, name);
  int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
  static uint64_t buffer[1 << 17];
  const uint64_t piece = bytes < sizeof buffer ? bytes : sizeof buffer;
  for (uint64_t at = 0; fd >= 0 && at < bytes; at += piece) {
    fill(buffer, piece, at, seed);
    if (write(fd, buffer, piece) != (ssize_t)piece) return perror(path), 1;
  }
  if (fd < 0 || fsync(fd) < 0 || close(fd) < 0) return perror(path), 1;
  return 0;
}

static int prepare_mix(void) {
  char path[4096], name[64];
  snprintf(path, sizeof path, "%s/mix", options.dir);
  if (mkdir(path, 0755) < 0) return perror(path), 1;
  for (int i = 0; i < MIX_FILES; i++) {
    snprintf(name, sizeof name, "mix/file-%03d", i);
    if (write_pattern(name, MIX_PIECE, READ_SEED) != 0) return 1;
  }
  return write_pattern("mix/log", MIX_PIECE, READ_SEED);
}

static int prepare(void) {
  char path[4096];
  if (prepare_mix() != 0) return 1;
  if (write_pattern("data", DATA_BYTES, READ_SEED) != 0) return 1;
  if (write_pattern("written", WRITE_BYTES, WRITE_SEED) != 0) return 1;
  const char *directories[] = { "made", "many" };
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s", options.dir, directories[i]);
    if (mkdir(path, 0755) < 0) return perror(path), 1;
  }
  for (int i = 0; i < ENTRIES; i++) {
    snprintf(path, sizeof path, "%s/many/entry-%04d", options.dir, i);
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);
    if (fd < 0 || close(fd) < 0) return perror(path), 1;
  }
  return 0;
}

static void parse_cpus(char *list) {
  for (char *cpu = strtok(list, ","); cpu != NULL && options.cpu_count < MOST_CPUS; cpu = strtok(NULL, ","))
    options.cpus[options.cpu_count++] = atoi(cpu);
}

int main(int argc, char **argv) {
  int preparing = 0;
  for (int i = 1; i < argc; i++) {
    const char *name = argv[i];
    if (strcmp(name, "--sequential") == 0) options.sequential = 1;
    else if (strcmp(name, "--o-direct") == 0) options.o_direct = 1;
    else if (strcmp(name, "--handshake") == 0) options.handshake = 1;
    else if (i + 1 == argc) return fprintf(stderr, "client: %s: unknown, or lacks its value\n", name), 2;
    else if (strcmp(name, "--prepare") == 0) options.dir = argv[++i], preparing = 1;
    else if (strcmp(name, "--op") == 0) options.op = argv[++i];
    else if (strcmp(name, "--dir") == 0) options.dir = argv[++i];
    else if (strcmp(name, "--bytes") == 0) options.bytes = strtoul(argv[++i], NULL, 10);
    else if (strcmp(name, "--seconds") == 0) options.seconds = atof(argv[++i]);
    else if (strcmp(name, "--warmup") == 0) options.warmup = atof(argv[++i]);
    else if (strcmp(name, "--count") == 0) options.count = strtoull(argv[++i], NULL, 10);
    else if (strcmp(name, "--processes") == 0) options.processes = atoi(argv[++i]);
    else if (strcmp(name, "--cpus") == 0) parse_cpus(argv[++i]);
    else return fprintf(stderr, "client: unknown option %s\n", name), 2;
  }
  if (options.dir == NULL || (options.op == NULL && !preparing))
    return fprintf(stderr, "client: no --op or --dir\n"), 2;
  if (options.bytes < 8 || options.bytes % 8 != 0 || options.bytes > WRITE_BYTES ||
      options.processes < 1 || options.processes > MOST_PROCESSES ||
      WRITE_BYTES / options.processes < (long)options.bytes)
    return fprintf(stderr, "client: --bytes or --processes out of range\n"), 2;
  return preparing ? prepare() : measure();
}
