// SPDX-License-Identifier: MIT
// The memory that calls may use: blocks known by number, and the bounds check that every access
// passes. Addresses stay on this side.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace efuse {

// A block's length, and so every offset in it, fits a register: a signed 32-bit number.
constexpr size_t kMaxBlock = INT32_MAX;

class Blocks;

// One block. It lives until the JavaScript object whose memory it is has been collected, although
// it may have been taken out of the table (released) before.
struct Region {
  std::shared_ptr<Blocks> blocks;
  char* base;
  size_t length;
  // From mmap: munmap when done. Otherwise the memory is JavaScript's.
  bool mapped;
  // Not to be unmapped but by release().
  bool lasting;
  int32_t id;
};

// The blocks of one JavaScript thread. Not locked: only that thread uses them.
class Blocks {
 public:
  void Add(Region* region);
  void Remove(Region* region);

  // The region with this number, or null.
  Region* Find(int32_t id) const {
    return id > 0 && static_cast<size_t>(id) < spans_.size() ? spans_[static_cast<size_t>(id)].region : nullptr;
  }

  // The address of [offset, offset + length) of a block, or null when it is not wholly inside.
  char* Range(int32_t id, int32_t offset, int32_t length) const {
    if ((id | offset | length) < 0 || static_cast<size_t>(id) >= spans_.size()) return nullptr;
    const Span& span = spans_[static_cast<size_t>(id)];
    // Sums of two non-negative 32-bit numbers can't overflow 64 bits.
    if (int64_t{offset} + length > int64_t{span.length}) return nullptr;
    return span.base == nullptr ? nullptr : span.base + offset;
  }

  // The bytes from an offset to the block's end; null when the offset is outside.
  char* Rest(int32_t id, int32_t offset, size_t* length) const {
    char* start = Range(id, offset, 0);
    if (start != nullptr) *length = static_cast<size_t>(spans_[static_cast<size_t>(id)].length - offset);
    return start;
  }

 private:
  // What the bounds check needs lies together; entry 0 stands for no block.
  struct Span {
    char* base = nullptr;
    int32_t length = 0;
    Region* region = nullptr;
  };
  std::vector<Span> spans_{Span{}};
  std::vector<int32_t> free_;
};

}  // namespace efuse
