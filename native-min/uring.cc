// SPDX-License-Identifier: MIT
// io_uring(7): making a ring, and submitting to it. Its queues are shared memory (mapDevice) that
// JavaScript reads and writes; only addresses have to be put in here.
#include <linux/io_uring.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <vector>

#include "call.h"

namespace efuse {
namespace {

// IORING_MAX_REG_BUFFERS of the kernel
constexpr int kMostBuffers = 1 << 14;
// A submission entry of a ring made with IORING_SETUP_SQE128
constexpr int32_t kWideEntry = 128;

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

// Gives the ring a table of `count` buffers: the first is a range of memory, which stays in place from now on, the
// others are empty, for the kernel to fill (FUSE's zero copy).
int UringRegisterBuffers(Thread& t) {
  const int count = t.Int(2);
  char* first = t.Bytes(3);
  if (first == nullptr) return -EFAULT;
  if (count < 1 || count > kMostBuffers) return -EINVAL;
  std::vector<iovec> buffers(static_cast<size_t>(count));
  buffers[0] = {first, static_cast<size_t>(t.Int(5))};
  return Result(syscall(SYS_io_uring_register, t.Int(1), IORING_REGISTER_BUFFERS, buffers.data(), count));
}

// Writes a range's address and length into the command area of a submission entry.
int UringPlaceRange(Thread& t) {
  char* entry = t.Bytes(1, kWideEntry);
  const int at = t.Int(3);
  const char* range = t.Bytes(4);
  if (entry == nullptr || range == nullptr) return -EFAULT;
  const uint64_t address = reinterpret_cast<uintptr_t>(range);
  const uint32_t length = t.Unsigned(6);
  if (at < 0 || static_cast<size_t>(at) > kWideEntry - sizeof address - sizeof length) return -EFAULT;
  memcpy(entry + at, &address, sizeof address);
  memcpy(entry + at + sizeof address, &length, sizeof length);
  return 0;
}

// Points a submission entry at two ranges of memory, through an iovec array that is put in memory
// as well: the kernel reads it when the entry is submitted, and keeps the ranges' addresses. Both
// ranges lie in one block; one of no length is none.
int UringPlaceBuffers(Thread& t) {
  char* entry = t.Bytes(1, sizeof(io_uring_sqe));
  char* array = t.Bytes(3, 2 * sizeof(iovec));
  const int block = t.Int(5);
  char* first = t.blocks->Range(block, t.Int(6), t.Int(7));
  char* second = t.blocks->Range(block, t.Int(8), t.Int(9));
  if (entry == nullptr || array == nullptr || first == nullptr || second == nullptr) return -EFAULT;
  const auto length = static_cast<size_t>(t.Int(9));
  const iovec ranges[] = {{first, static_cast<size_t>(t.Int(7))}, {length == 0 ? nullptr : second, length}};
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
    {"uringRegisterBuffers", Invoke<UringRegisterBuffers>},
    {"uringPlaceRange", Invoke<UringPlaceRange>},
    {"uringPlaceBuffers", Invoke<UringPlaceBuffers>},
};

}  // namespace

void AddUringCalls(Exports& exports) { exports.Add(kCalls); }

}  // namespace efuse
