// SPDX-License-Identifier: MIT
// Memory: mappings that JavaScript sees as ArrayBuffers, and the registration of its own.
#include <sys/mman.h>
#include <unistd.h>

#include "call.h"

namespace efuse {
namespace {

size_t PageSize() {
  static const size_t size = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

void Unmap(Region* region) {
  if (region->mapped && region->base != nullptr) munmap(region->base, region->length);
  region->base = nullptr;
}

// Runs when the JavaScript object that owns the memory is gone, at the latest when its thread ends.
void Finalize(napi_env, void*, void* hint) {
  Region* region = static_cast<Region*>(hint);
  region->blocks->Remove(region);
  if (!region->lasting) Unmap(region);
  delete region;
}

// A new mapping as {id, buffer}, or -errno.
Napi::Value Map(const Napi::CallbackInfo& info, double bytes, int protection, int flags, int fd, off_t offset,
                bool lasting = false) {
  const Napi::Env env = info.Env();
  if (!(bytes >= 1 && bytes <= static_cast<double>(kMaxBlock - PageSize() + 1))) return Napi::Number::New(env, -EINVAL);
  const size_t length = (static_cast<size_t>(bytes) + PageSize() - 1) / PageSize() * PageSize();
  void* address = mmap(nullptr, length, protection, flags, fd, offset);
  if (address == MAP_FAILED) return Napi::Number::New(env, -errno);

  Region* region = new Region{ThreadOf(info).blocks, static_cast<char*>(address), length, true, lasting, 0};
  napi_value buffer;
  if (napi_create_external_arraybuffer(env, address, length, Finalize, region, &buffer) != napi_ok) {
    Unmap(region);
    delete region;
    return Napi::Number::New(env, -ENOMEM);
  }
  region->blocks->Add(region);
  Napi::Object result = Napi::Object::New(env);
  result.Set("id", Napi::Number::New(env, region->id));
  result.Set("buffer", Napi::Value(env, buffer));
  return result;
}

Napi::Value Allocate(const Napi::CallbackInfo& info) {
  return Map(info, info[0].As<Napi::Number>().DoubleValue(), PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0, info[1].As<Napi::Boolean>().Value());
}

Napi::Value MapDevice(const Napi::CallbackInfo& info) {
  const uint64_t low = info[1].As<Napi::Number>().Uint32Value();
  const uint64_t high = info[2].As<Napi::Number>().Uint32Value();
  const bool populate = info[4].As<Napi::Boolean>().Value();
  return Map(info, info[3].As<Napi::Number>().DoubleValue(), PROT_READ | PROT_WRITE,
             MAP_SHARED | (populate ? MAP_POPULATE : 0), info[0].As<Napi::Number>().Int32Value(),
             static_cast<off_t>(low | high << 32));
}

// Memory that JavaScript must not write to: it would end the process. native.ts keeps it to itself.
Napi::Value MapReadOnly(const Napi::CallbackInfo& info) {
  return Map(info, info[2].As<Napi::Number>().DoubleValue(), PROT_READ, MAP_SHARED,
             info[0].As<Napi::Number>().Int32Value(), static_cast<off_t>(info[1].As<Napi::Number>().Int64Value()));
}

// Registers the bytes of a Uint8Array over an ArrayBuffer or a SharedArrayBuffer. The region goes
// when the array is collected, and a Block holds its array: while a Block can be named, its memory
// is there, unless it was detached, which native.ts sees by the array's length.
Napi::Value Register(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  const napi_status status = napi_get_typedarray_info(env, info[0], &type, &length, &data, nullptr, nullptr);
  if (status != napi_ok || type != napi_uint8_array || length == 0 || length > kMaxBlock || data == nullptr)
    return Napi::Number::New(env, -EINVAL);
  Region* region = new Region{ThreadOf(info).blocks, static_cast<char*>(data), length, false, false, 0};
  if (napi_add_finalizer(env, info[0], data, Finalize, region, nullptr) != napi_ok) {
    delete region;
    return Napi::Number::New(env, -ENOMEM);
  }
  region->blocks->Add(region);
  return Napi::Number::New(env, region->id);
}

// Takes a block out of the table. A mapping's ArrayBuffer is detached before the memory goes, so
// that JavaScript can't touch it; should that fail, the memory stays until it is collected.
void Release(const Napi::CallbackInfo& info) {
  Blocks& blocks = *ThreadOf(info).blocks;
  Region* region = blocks.Find(info[0].As<Napi::Number>().Int32Value());
  if (region == nullptr) return;
  blocks.Remove(region);
  if (region->mapped && napi_detach_arraybuffer(info.Env(), info[1]) == napi_ok) Unmap(region);
}

int Discard(Thread& t) {
  char* start = t.Bytes(1);
  if (start == nullptr) return -EFAULT;
  // The kernel rounds the length up to whole pages: elsewhere than in a mapping of our own that
  // could wipe a neighbour.
  if (!t.blocks->Find(t.Int(1))->mapped) return -EINVAL;
  return Result(madvise(start, static_cast<size_t>(t.Int(3)), MADV_DONTNEED));
}

// The pages that lie wholly inside a range of JavaScript's own memory, whose first and last page may be shared with
// others. Returns 0 or -EFAULT.
int PagesInside(Thread& t, char** start, size_t* length) {
  char* bytes = t.Bytes(1);
  if (bytes == nullptr) return -EFAULT;
  const uintptr_t address = reinterpret_cast<uintptr_t>(bytes);
  const uintptr_t first = (address + PageSize() - 1) & ~(PageSize() - 1);
  const uintptr_t end = (address + static_cast<uintptr_t>(t.Int(3))) & ~(PageSize() - 1);
  *start = bytes + (first - address);
  *length = end > first ? end - first : 0;
  return 0;
}

int DiscardInside(Thread& t) {
  char* start;
  size_t length;
  const int error = PagesInside(t, &start, &length);
  if (error != 0 || length == 0) return error;
  return Result(madvise(start, length, MADV_DONTNEED));
}

int UncountInside(Thread& t) {
  char* start;
  size_t length;
  const int error = PagesInside(t, &start, &length);
  if (error != 0 || length == 0) return error;
  // In place of what is there: whoever frees it unmaps this as well.
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  return mmap(start, length, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED ? -errno : 0;
}

constexpr Call kCalls[] = {
    {"discard", Invoke<Discard>},
    {"discardInside", Invoke<DiscardInside>},
    {"uncountInside", Invoke<UncountInside>},
};

}  // namespace

void AddMemoryCalls(Exports& exports) {
  exports.Add(kCalls);
  exports.AddOrdinary("allocate", Allocate);
  exports.AddOrdinary("mapDevice", MapDevice);
  exports.AddOrdinary("mapReadOnly", MapReadOnly);
  exports.AddOrdinary("register", Register);
  exports.AddOrdinary("release", Release);
}

}  // namespace efuse
