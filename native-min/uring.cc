// SPDX-License-Identifier: MIT
// io_uring(7): making a ring, and submitting to it. Its queues are shared memory (mapDevice) that
// JavaScript reads and writes; only addresses have to be put in here.
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>

#include "call.h"

namespace efuse {
namespace {

int UringSetup(Thread& t) {
  char* params = t.Bytes(2, sizeof(io_uring_params));
  if (params == nullptr) return -EFAULT;
  return Result(syscall(SYS_io_uring_setup, t.Unsigned(1), params));
}

// Makes the ring known to the calling thread by an index, which spares each uringEnter the look-up of its file.
int UringRegisterRing(Thread& t) {
  io_uring_rsrc_update update{};
  update.offset = UINT32_MAX;
  update.data = static_cast<uint64_t>(t.Int(1));
  const int done = Result(syscall(SYS_io_uring_register, t.Int(1), IORING_REGISTER_RING_FDS, &update, 1));
  if (done < 0) return done;
  return done == 1 ? static_cast<int>(update.offset) : -EINVAL;
}

int UringEnter(Thread& t) {
  return Result(syscall(SYS_io_uring_enter, t.Int(1), t.Unsigned(2), t.Unsigned(3), t.Unsigned(4), nullptr, 0));
}

int UringRegisterFile(Thread& t) {
  const int fd = t.Int(2);
  return Result(syscall(SYS_io_uring_register, t.Int(1), IORING_REGISTER_FILES, &fd, 1));
}

// Points a submission entry at two ranges of memory, through an iovec array that is put in memory
// as well: the kernel reads it when the entry is submitted, and keeps the ranges' addresses. Both
// ranges lie in one block.
int UringPlaceBuffers(Thread& t) {
  char* entry = t.Bytes(1, sizeof(io_uring_sqe));
  char* array = t.Bytes(3, 2 * sizeof(iovec));
  const int block = t.Int(5);
  char* first = t.blocks->Range(block, t.Int(6), t.Int(7));
  char* second = t.blocks->Range(block, t.Int(8), t.Int(9));
  if (entry == nullptr || array == nullptr || first == nullptr || second == nullptr) return -EFAULT;
  const iovec ranges[] = {{first, static_cast<size_t>(t.Int(7))}, {second, static_cast<size_t>(t.Int(9))}};
  memcpy(array, ranges, sizeof ranges);
  const uint64_t address = reinterpret_cast<uintptr_t>(array);
  const uint32_t count = 2;
  memcpy(entry + offsetof(io_uring_sqe, addr), &address, sizeof address);
  memcpy(entry + offsetof(io_uring_sqe, len), &count, sizeof count);
  return 0;
}

constexpr Call kCalls[] = {
    {"uringSetup", Invoke<UringSetup>},
    {"uringEnter", Invoke<UringEnter>},
    {"uringRegisterRing", Invoke<UringRegisterRing>},
    {"uringRegisterFile", Invoke<UringRegisterFile>},
    {"uringPlaceBuffers", Invoke<UringPlaceBuffers>},
};

}  // namespace

void AddUringCalls(Exports& exports) { exports.Add(kCalls); }

}  // namespace efuse
