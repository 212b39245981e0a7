// SPDX-License-Identifier: MIT
// Descriptors that a JavaScript thread has made by calls of bpf.cc: what it has not closed when it ends is
// closed then, so that a worker's end detaches its BPF programs as a process's does.
#pragma once

#include <unistd.h>

#include <unordered_set>

namespace efuse {

class Descriptors {
 public:
  Descriptors() = default;
  Descriptors(const Descriptors&) = delete;
  Descriptors& operator=(const Descriptors&) = delete;
  ~Descriptors() {
    for (const int fd : open_) close(fd);
  }

  // Takes a descriptor in; negative results of calls pass through.
  int Add(int fd) {
    if (fd >= 0) open_.insert(fd);
    return fd;
  }

  // Whether it was one of these; it is now the caller's to close.
  bool Remove(int fd) { return open_.erase(fd) != 0; }

  bool Has(int fd) const { return open_.count(fd) != 0; }

 private:
  std::unordered_set<int> open_;
};

}  // namespace efuse
