// SPDX-License-Identifier: MIT
#include "blocks.h"

namespace efuse {

void Blocks::Add(Region* region) {
  int32_t id;
  if (free_.empty()) {
    id = static_cast<int32_t>(spans_.size());
    spans_.emplace_back();
  } else {
    id = free_.back();
    free_.pop_back();
  }
  region->id = id;
  spans_[static_cast<size_t>(id)] = Span{region->base, static_cast<int32_t>(region->length), region};
}

void Blocks::Remove(Region* region) {
  if (region->id == 0) return;
  spans_[static_cast<size_t>(region->id)] = Span{};
  free_.push_back(region->id);
  region->id = 0;
}

}  // namespace efuse
