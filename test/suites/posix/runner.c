// SPDX-License-Identifier: MIT
//
// Runs the POSIX matrix inside a directory and prints TAP: `posix --target DIR [--only WORD] [--list]`.

#include "posix.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/resource.h>

#define TEST_SECONDS 90

struct test {
  const char *file;
  const char *name;
  int line;
  void (*run)(void);
};

// Shared with the tests' processes.
struct tally {
  atomic_int assertions;
  atomic_int failures;
};

static struct test tests[1024];
static size_t test_count;
static struct tally *tally;
static char subject[256];
static const char *running = "";

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

void add_test(const char *file, int line, const char *name, void (*run)(void)) {
  if (test_count == sizeof tests / sizeof *tests) abort();
  tests[test_count++] = (struct test){base_name(file), name, line, run};
}

void about(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(subject, sizeof subject, format, arguments);
  va_end(arguments);
}

const char *error_name(int code) {
  const char *name = strerrorname_np(code);
  return code == 0 ? "success" : name ? name : "an unknown errno";
}

void assertion(bool passed, const char *file, int line, const char *format, ...) {
  char text[1024], output[1600];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  for (char *c = text; *c; c++)
    if (*c == '#' || *c == '\n') *c = ' ';  // '#' would start a TAP directive
  int number = atomic_fetch_add(&tally->assertions, 1) + 1;
  if (!passed) atomic_fetch_add(&tally->failures, 1);
  int length = snprintf(output, sizeof output, "%sok %d - %s:%d %s: %s%s%s\n", passed ? "" : "not ", number,
                        base_name(file), line, running, subject, *subject ? ": " : "", text);
  // One write, so that lines of a test's several processes never mix.
  if (write(STDOUT_FILENO, output, (size_t)length) != length) _exit(111);
}

int enter(uid_t uid, gid_t gid, size_t count, const gid_t *groups) {
  if (setgroups(count, groups) || setresgid((gid_t)-1, gid, (gid_t)-1) || setresuid((uid_t)-1, uid, (uid_t)-1)) {
    assertion(false, __FILE__, __LINE__, "become uid %d gid %d", (int)uid, (int)gid);
    return 0;
  }
  return 1;
}

int leave(void) {
  // A test that is left as somebody else would be judged wrongly from here on.
  int saved = errno;
  if (setresuid((uid_t)-1, 0, (uid_t)-1) || setresgid((gid_t)-1, 0, (gid_t)-1) || setgroups(0, NULL)) _exit(112);
  errno = saved;
  return 0;
}

const char *const type_names[TYPES] = {"regular file", "directory",    "fifo",   "character device",
                                       "block device", "socket",       "symlink"};
const mode_t type_modes[TYPES] = {S_IFREG, S_IFDIR, S_IFIFO, S_IFCHR, S_IFBLK, S_IFSOCK, S_IFLNK};

int make(enum type type, const char *path, mode_t mode) {
  if (type == SYMLINK) return symlink("nowhere", path);
  // Character device 1:3 is /dev/null; block device 7:250 an unused loop device.
  dev_t device = type == CHAR_DEVICE ? makedev(1, 3) : type == BLOCK_DEVICE ? makedev(7, 250) : 0;
  int result = type == DIRECTORY ? mkdir(path, mode) : mknod(path, type_modes[type] | mode, device);
  return result ? result : chmod(path, mode);
}

int make_owned(enum type type, const char *path, mode_t mode, uid_t uid, gid_t gid) {
  if (make(type, path, mode) || lchown(path, uid, gid)) return -1;
  return type == SYMLINK ? 0 : chmod(path, mode);  // chown clears suid and sgid
}

int destroy(enum type type, const char *path) { return type == DIRECTORY ? rmdir(path) : unlink(path); }

int put(const char *path, const char *text) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0) return -1;
  ssize_t length = (ssize_t)strlen(text);
  ssize_t written = write(fd, text, (size_t)length);
  return close(fd) || written != length ? -1 : 0;
}

bool holds(const char *path, const char *text) {
  static char content[65536];
  int fd = open(path, O_RDONLY);
  if (fd < 0) return false;
  ssize_t length = read(fd, content, sizeof content);
  close(fd);
  return length == (ssize_t)strlen(text) && memcmp(content, text, (size_t)length) == 0;
}

struct stat status_of(const char *path) {
  struct stat status = {0};
  if (lstat(path, &status)) memset(&status, 0, sizeof status);
  return status;
}

mode_t mode_of(const char *path) { return status_of(path).st_mode & 07777; }

bool exists(const char *path) {
  struct stat status;
  return lstat(path, &status) == 0;
}

bool before(struct timespec a, struct timespec b) {
  return a.tv_sec < b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec < b.tv_nsec);
}

bool same(struct timespec a, struct timespec b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

void tick(void) {
  struct timespec start, now;
  clock_gettime(CLOCK_REALTIME_COARSE, &start);
  do {
    nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
  } while (same(start, now));
}

int exit_status(pid_t child) {
  int status = 0;
  if (child < 0) return -1;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return -1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

struct gate gate_new(void) {
  struct gate gate;
  if (pipe2(gate.ends, O_CLOEXEC)) abort();
  return gate;
}

void gate_open(struct gate *gate) {
  if (write(gate->ends[1], "", 1) != 1) abort();
}

void gate_await(struct gate *gate) {
  char byte;
  while (read(gate->ends[0], &byte, 1) < 0 && errno == EINTR) continue;
}

bool kernel_protects(const char *what) {
  char path[128], value = '0';
  snprintf(path, sizeof path, "/proc/sys/fs/protected_%s", what);
  int fd = open(path, O_RDONLY);
  if (fd >= 0 && read(fd, &value, 1) != 1) value = '0';
  if (fd >= 0) close(fd);
  return value != '0';
}

void drop_caches(void) {
  int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
  if (fd < 0) return;
  sync();
  if (write(fd, "2", 1) != 1) perror("drop_caches");
  close(fd);
}

static int remove_entry(const char *path, const struct stat *status, int flag, struct FTW *walk) {
  (void)status, (void)walk;
  return flag == FTW_DP ? rmdir(path) : unlink(path);
}

// How much slower than usual this machine may be.
static unsigned patience(void) {
  const char *text = getenv("EFUSE_TEST_PATIENCE");
  return text && atoi(text) > 0 ? (unsigned)atoi(text) : 1;
}

static void run_test(const struct test *test, const char *target) {
  char directory[4096];
  snprintf(directory, sizeof directory, "%s/%s", target, test->name);
  running = test->name;
  about("%s", "");
  if (mkdir(directory, 0755) || chmod(directory, 0755) || chown(directory, 0, 0)) {
    assertion(false, test->file, test->line, "make the test's directory: %s", error_name(errno));
    return;
  }
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) {
    if (setpgid(0, 0) || chdir(directory)) _exit(113);
    umask(0);
    alarm(TEST_SECONDS * patience());
    test->run();
    _exit(0);
  }
  int status = exit_status(child);
  if (status != 0)
    assertion(false, test->file, test->line, "runs to its end (%s %d)", status >= 128 ? "signal" : "exit",
              status >= 128 ? status - 128 : status);
  kill(-child, SIGKILL);  // whatever the test left running
  errno = 0;
  bool removed = nftw(directory, remove_entry, 64, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) == 0;
  assertion(removed, test->file, test->line, "all that the test left can be removed%s%s", removed ? "" : ": ",
            removed ? "" : error_name(errno));
}

static int by_place(const void *a, const void *b) {
  const struct test *first = a, *second = b;
  int order = strcmp(first->file, second->file);
  return order ? order : first->line - second->line;
}

// What the exec tests run: says that it has started, then stays.
static int run_until_killed(void) {
  if (write(STDOUT_FILENO, "\n", 1) != 1) return 1;
  for (;;) pause();
}

int main(int count, char **arguments) {
  const char *target = NULL, *only = "";
  bool list = false;
  for (int i = 1; i < count; i++) {
    if (!strcmp(arguments[i], "--list")) list = true;
    else if (!strcmp(arguments[i], "--pause")) return run_until_killed();
    else if (!strcmp(arguments[i], "--target") && i + 1 < count) target = arguments[++i];
    else if (!strcmp(arguments[i], "--only") && i + 1 < count) only = arguments[++i];
    else return fprintf(stderr, "usage: posix --target DIR [--only WORD] [--list]\n"), 2;
  }
  qsort(tests, test_count, sizeof *tests, by_place);
  if (list) {
    for (size_t i = 0; i < test_count; i++) printf("%s %s\n", tests[i].file, tests[i].name);
    return 0;
  }
  if (!target) return fprintf(stderr, "posix: --target DIR is needed\n"), 2;
  if (geteuid() != 0) return fprintf(stderr, "posix: must run as root, since it acts as several users\n"), 2;
  umask(0);
  signal(SIGPIPE, SIG_IGN);
  tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (tally == MAP_FAILED) return perror("mmap"), 1;
  printf("TAP version 14\n");
  for (size_t i = 0; i < test_count; i++)
    if (strstr(tests[i].file, only) || strstr(tests[i].name, only)) run_test(&tests[i], target);
  printf("1..%d\n# %d failed of %d\n", tally->assertions, tally->failures, tally->assertions);
  return tally->failures ? 1 : 0;
}
