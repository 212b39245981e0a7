// SPDX-License-Identifier: MIT
//
// flock, fcntl and open-file-description locks between processes, blocking ones included; leases are not covered.

#include "posix.h"

static int lock(int fd, int command, short type, off_t start, off_t length) {
  struct flock request = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};
  return fcntl(fd, command, &request);
}

// Whether another process can take this lock at once.
static bool other_can_lock(const char *path, int command, short type, off_t start, off_t length) {
  return IN_CHILD({
           int fd = open(path, O_RDWR);
           _exit(lock(fd, command, type, start, length) == 0 ? 0 : errno == EAGAIN || errno == EACCES ? 1 : 2);
         }) == 0;
}
static int flock_result(const char *path, int operation) {
  return IN_CHILD({
    int fd = open(path, O_RDWR);
    _exit(flock(fd, operation | LOCK_NB) == 0 ? 0 : errno == EWOULDBLOCK ? 1 : 2);
  });
}

TEST(flock_between_processes) {
  OK(put("e", ""));
  int fd = (int)OK(open("e", O_RDONLY));
  OK(flock(fd, LOCK_SH));
  IS(flock_result("e", LOCK_SH), 0);
  IS(flock_result("e", LOCK_EX), 1);
  OK(flock(fd, LOCK_EX));
  IS(flock_result("e", LOCK_SH), 1);
  IS(flock_result("e", LOCK_EX), 1);
  OK(flock(fd, LOCK_UN));
  IS(flock_result("e", LOCK_EX), 0);
  about("shared by duplicates, not by opens");
  int copy = dup(fd), second = (int)OK(open("e", O_RDWR));
  OK(flock(fd, LOCK_EX));
  OK(flock(copy, LOCK_EX | LOCK_NB));
  FAILS(EWOULDBLOCK, flock(second, LOCK_EX | LOCK_NB));
  OK(close(fd));
  IS(flock_result("e", LOCK_EX), 1);
  OK(close(copy));
  IS(flock_result("e", LOCK_EX), 0);
  about("ends with its process");
  struct gate held = gate_new(), end = gate_new();
  pid_t child = fork();
  if (child == 0) {
    if (flock(open("e", O_RDWR), LOCK_EX)) _exit(1);
    gate_open(&held);
    gate_await(&end);
    _exit(0);
  }
  gate_await(&held);
  FAILS(EWOULDBLOCK, flock(second, LOCK_SH | LOCK_NB));
  gate_open(&end);
  OK(flock(second, LOCK_SH));
  IS(exit_status(child), 0);
  about("directory");
  int directory = (int)OK(open(".", O_RDONLY));
  OK(flock(directory, LOCK_EX));
}

TEST(flock_blocks_and_is_interrupted) {
  OK(put("e", ""));
  int fd = (int)OK(open("e", O_RDWR));
  OK(flock(fd, LOCK_EX));
  struct gate ready = gate_new();
  pid_t child = fork();
  if (child == 0) {
    int own = open("e", O_RDWR);
    gate_open(&ready);
    _exit(flock(own, LOCK_EX) == 0 ? 0 : 1);
  }
  gate_await(&ready);
  tick();
  IS(waitpid(child, NULL, WNOHANG), 0);
  OK(flock(fd, LOCK_UN));
  IS(exit_status(child), 0);
  about("killed while waiting");
  OK(flock(fd, LOCK_EX));
  child = fork();
  if (child == 0) {
    int own = open("e", O_RDWR);
    gate_open(&ready);
    _exit(flock(own, LOCK_EX) == 0 ? 0 : 1);
  }
  gate_await(&ready);
  tick();
  kill(child, SIGKILL);
  IS(exit_status(child), 128 + SIGKILL);
  OK(flock(fd, LOCK_UN));
  IS(flock_result("e", LOCK_EX), 0);
}

TEST(fcntl_ranges_between_processes) {
  OK(put("e", "0123456789"));
  int fd = (int)OK(open("e", O_RDWR));
  OK(lock(fd, F_SETLK, F_WRLCK, 2, 4));
  HOLDS(!other_can_lock("e", F_SETLK, F_WRLCK, 0, 0));
  HOLDS(!other_can_lock("e", F_SETLK, F_RDLCK, 5, 1));
  HOLDS(other_can_lock("e", F_SETLK, F_WRLCK, 6, 0));
  HOLDS(other_can_lock("e", F_SETLK, F_WRLCK, 0, 2));
  OK(lock(fd, F_SETLK, F_UNLCK, 3, 1));
  HOLDS(other_can_lock("e", F_SETLK, F_WRLCK, 3, 1));
  HOLDS(!other_can_lock("e", F_SETLK, F_WRLCK, 2, 1));
  HOLDS(!other_can_lock("e", F_SETLK, F_WRLCK, 4, 2));
  about("read locks are shared");
  OK(lock(fd, F_SETLK, F_RDLCK, 0, 0));
  HOLDS(other_can_lock("e", F_SETLK, F_RDLCK, 0, 0));
  HOLDS(!other_can_lock("e", F_SETLK, F_WRLCK, 1 << 20, 1));
  about("F_GETLK names the holder");
  pid_t self = getpid();
  IS(IN_CHILD({
       struct flock request = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 1};
       if (fcntl(open("e", O_RDWR), F_GETLK, &request)) _exit(1);
       if (request.l_type != F_RDLCK || request.l_start != 0 || request.l_len != 0) _exit(2);
       if (request.l_pid != self) _exit(3);
     }),
     0);
  IS(IN_CHILD({
       struct flock request = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 1};
       if (fcntl(open("e", O_RDWR), F_GETLK, &request)) _exit(1);
       if (request.l_type != F_UNLCK) _exit(2);
     }),
     0);
  about("closing any descriptor of the file ends them all");
  OK(close(open("e", O_RDONLY)));
  HOLDS(other_can_lock("e", F_SETLK, F_WRLCK, 0, 0));
  about("wrong descriptors and ranges");
  int reader = (int)OK(open("e", O_RDONLY)), writer = (int)OK(open("e", O_WRONLY));
  FAILS(EBADF, lock(reader, F_SETLK, F_WRLCK, 0, 0));
  FAILS(EBADF, lock(writer, F_SETLK, F_RDLCK, 0, 0));
  FAILS(EINVAL, lock(fd, F_SETLK, F_WRLCK, -1, 0));
  about("ranges merge, split and change type");
  OK(lock(fd, F_SETLK, F_WRLCK, 0, 100));
  OK(lock(fd, F_SETLK, F_RDLCK, 10, 10));
  HOLDS(other_can_lock("e", F_SETLK, F_RDLCK, 10, 10));
  HOLDS(!other_can_lock("e", F_SETLK, F_RDLCK, 9, 1));
  HOLDS(!other_can_lock("e", F_SETLK, F_RDLCK, 20, 1));
  OK(lock(fd, F_SETLK, F_UNLCK, 0, 0));
  HOLDS(other_can_lock("e", F_SETLK, F_WRLCK, 0, 0));
  about("not inherited by a child");
  OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
  IS(IN_CHILD(_exit(lock(fd, F_SETLK, F_WRLCK, 0, 0) == 0 ? 0 : 1)), 1);
}

TEST(fcntl_blocks_and_is_interrupted) {
  OK(put("e", ""));
  int fd = (int)OK(open("e", O_RDWR));
  OK(lock(fd, F_SETLK, F_WRLCK, 0, 10));
  struct gate ready = gate_new();
  pid_t child = fork();
  if (child == 0) {
    int own = open("e", O_RDWR);
    gate_open(&ready);
    _exit(lock(own, F_SETLKW, F_WRLCK, 5, 1) == 0 ? 0 : 1);
  }
  gate_await(&ready);
  tick();
  IS(waitpid(child, NULL, WNOHANG), 0);
  OK(lock(fd, F_SETLK, F_UNLCK, 5, 5));
  IS(exit_status(child), 0);
  about("interrupted by a signal");
  OK(lock(fd, F_SETLK, F_WRLCK, 0, 10));
  child = fork();
  if (child == 0) {
    struct sigaction action = {.sa_handler = (void (*)(int))(void (*)(void))tick};
    sigaction(SIGUSR1, &action, NULL);
    int own = open("e", O_RDWR);
    gate_open(&ready);
    _exit(lock(own, F_SETLKW, F_WRLCK, 5, 1) == -1 && errno == EINTR ? 0 : 1);
  }
  gate_await(&ready);
  // The signal may come before the wait begins, so it is sent until the child has ended.
  int status = 0;
  while (waitpid(child, &status, WNOHANG) == 0) {
    kill(child, SIGUSR1);
    tick();
  }
  IS(status, 0);
  OK(lock(fd, F_SETLK, F_UNLCK, 0, 0));
  HOLDS(other_can_lock("e", F_SETLK, F_WRLCK, 0, 0));
}

TEST(fcntl_deadlock_is_found) {
  OK(put("e", ""));
  int fd = (int)OK(open("e", O_RDWR));
  OK(lock(fd, F_SETLK, F_WRLCK, 0, 1));
  struct gate ready = gate_new();
  pid_t child = fork();
  if (child == 0) {
    int own = open("e", O_RDWR);
    if (lock(own, F_SETLK, F_WRLCK, 1, 1)) _exit(1);
    gate_open(&ready);
    int result = lock(own, F_SETLKW, F_WRLCK, 0, 1);
    _exit(result == 0 || errno == EDEADLK ? 0 : 2);
  }
  gate_await(&ready);
  for (int i = 0; i < 5; i++) tick();
  int result = lock(fd, F_SETLKW, F_WRLCK, 1, 1);
  HOLDS(result == 0 || errno == EDEADLK);
  OK(lock(fd, F_SETLK, F_UNLCK, 0, 0));
  IS(exit_status(child), 0);
}

TEST(open_file_description_locks) {
  OK(put("e", ""));
  int first = (int)OK(open("e", O_RDWR)), second = (int)OK(open("e", O_RDWR));
  OK(lock(first, F_OFD_SETLK, F_WRLCK, 0, 10));
  FAILS(EAGAIN, lock(second, F_OFD_SETLK, F_WRLCK, 9, 1));
  OK(lock(second, F_OFD_SETLK, F_WRLCK, 10, 1));
  HOLDS(!other_can_lock("e", F_SETLK, F_RDLCK, 0, 1));
  struct flock request = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
  OK(fcntl(second, F_OFD_GETLK, &request));
  IS(request.l_pid, -1);
  IS(request.l_type, F_WRLCK);
  about("kept by a child with the same description");
  IS(IN_CHILD(_exit(lock(first, F_OFD_SETLK, F_WRLCK, 0, 10) == 0 ? 0 : 1)), 0);
  about("kept when another description is closed");
  OK(close(open("e", O_RDWR)));
  HOLDS(!other_can_lock("e", F_SETLK, F_RDLCK, 0, 1));
  OK(close(first));
  HOLDS(other_can_lock("e", F_SETLK, F_RDLCK, 0, 1));
}

TEST(lock_kinds_are_independent) {
  OK(put("e", ""));
  int fd = (int)OK(open("e", O_RDWR));
  OK(flock(fd, LOCK_EX));
  HOLDS(other_can_lock("e", F_SETLK, F_WRLCK, 0, 0));
  OK(flock(fd, LOCK_UN));
  OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
  IS(flock_result("e", LOCK_EX), 0);
}

TEST(locks_follow_the_inode) {
  OK(put("a", ""));
  OK(link("a", "b"));
  int fd = (int)OK(open("a", O_RDWR));
  OK(lock(fd, F_SETLK, F_WRLCK, 0, 0));
  HOLDS(!other_can_lock("b", F_SETLK, F_WRLCK, 0, 0));
  OK(flock(fd, LOCK_EX));
  IS(flock_result("b", LOCK_SH), 1);
  OK(unlink("a"));
  HOLDS(!other_can_lock("b", F_SETLK, F_WRLCK, 0, 0));
  OK(rename("b", "c"));
  IS(flock_result("c", LOCK_SH), 1);
}

TEST(locks_guard_a_counter) {
  enum { PROCESSES = 4, ROUNDS = 100 };
  for (int kind = 0; kind < 3; kind++) {
    about("%s", kind == 0 ? "fcntl" : kind == 1 ? "flock" : "OFD");
    int fd = (int)OK(open("counter", O_CREAT | O_RDWR | O_TRUNC, 0644)), zero = 0;
    IS(pwrite(fd, &zero, sizeof zero, 0), sizeof zero);
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
      children[i] = fork();
      if (children[i] == 0) {
        int own = open("counter", O_RDWR), value;
        for (int j = 0; j < ROUNDS; j++) {
          int command = kind == 0 ? F_SETLKW : F_OFD_SETLKW;
          if (kind == 1 ? flock(own, LOCK_EX) : lock(own, command, F_WRLCK, 0, 0)) _exit(1);
          if (pread(own, &value, sizeof value, 0) != sizeof value) _exit(2);
          value++;
          if (pwrite(own, &value, sizeof value, 0) != sizeof value) _exit(3);
          if (kind == 1 ? flock(own, LOCK_UN) : lock(own, command, F_UNLCK, 0, 0)) _exit(4);
        }
        _exit(0);
      }
    }
    for (int i = 0; i < PROCESSES; i++) IS(exit_status(children[i]), 0);
    int value = 0;
    IS(pread(fd, &value, sizeof value, 0), sizeof value);
    IS(value, PROCESSES * ROUNDS);
    close(fd);
  }
}
