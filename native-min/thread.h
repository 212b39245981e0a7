// SPDX-License-Identifier: MIT
// What the addon keeps for one JavaScript thread, and how a call finds its arguments.
//
// A call has no JavaScript arguments: native.ts writes them into `registers`, an Int32Array, and
// reads the result from there. Converting seven arguments through N-API costs several times what
// an empty call does.
#pragma once

#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>
#include <memory>
#include <unordered_map>

#include "blocks.h"
#include "credentials.h"
#include "descriptors.h"

namespace efuse {

struct Poll;

// A BPF map that JavaScript has opened: bytes of a key, of a value, and of a value for all CPUs.
struct BpfMap {
  int fd;
  uint32_t key;
  uint64_t whole;
  uint32_t value;
};

class Thread {
 public:
  // The layout of the registers; src/native.ts has its other half. Arguments begin at 1.
  enum Register : int {
    kResult = 0,
    kLow = 16,
    kHigh = 17,
    kAs = 18,
    kUid = 19,
    kGid = 20,
    kUmask = 21,
    kGroupCount = 22,
    kKillPriv = 23,
    kAllowed = 24,
    kRegisters = 64,
  };

  int32_t* registers = nullptr;
  // Supplementary groups of the caller in whose name a call is made.
  uint32_t* groups = nullptr;
  const std::shared_ptr<Blocks> blocks = std::make_shared<Blocks>();
  Credentials own;
  std::unordered_map<int32_t, Poll*> polls;
  int32_t last_poll = 0;
  std::unordered_map<int32_t, BpfMap> maps;
  int32_t last_map = 0;
  Descriptors descriptors;

  int Int(int n) const { return registers[n]; }
  uint32_t Unsigned(int n) const { return static_cast<uint32_t>(registers[n]); }
  // A 64-bit argument: its low half at n, its high half at n + 1.
  int64_t Wide(int n) const { return static_cast<int64_t>(Unsigned(n) | uint64_t{Unsigned(n + 1)} << 32); }

  void SetWide(uint64_t value) {
    registers[kLow] = static_cast<int32_t>(value & UINT32_MAX);
    registers[kHigh] = static_cast<int32_t>(value >> 32);
  }

  // (block, offset, length) at n, n + 1, n + 2; null when out of bounds.
  char* Bytes(int n) const { return blocks->Range(Int(n), Int(n + 1), Int(n + 2)); }

  // (block, offset) at n, n + 1, with a length that the call itself knows.
  char* Bytes(int n, int32_t length) const { return blocks->Range(Int(n), Int(n + 1), length); }

  // (block, offset) of a path or a name; null unless it ends inside the block. The kernel reads no
  // more than PATH_MAX bytes and says ENAMETOOLONG, so neither need we look further.
  const char* String(int n) const {
    size_t rest = 0;
    const char* start = blocks->Rest(Int(n), Int(n + 1), &rest);
    if (start == nullptr || rest >= PATH_MAX) return start;
    return memchr(start, '\0', rest) == nullptr ? nullptr : start;
  }
};

// A system call's result as calls return it.
inline int Result(long value) { return value < 0 ? -errno : static_cast<int>(value); }

}  // namespace efuse
