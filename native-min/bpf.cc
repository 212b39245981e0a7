// SPDX-License-Identifier: MIT
// bpf(2) for libbpf in WebAssembly, whose pointers are offsets in linear memory, and for maps from JavaScript.
//
// Offsets become addresses in copies alone: the copy of bpf_attr that the kernel gets, and copies of what it
// points at when that holds pointers. Every range is checked against its block first (bpf_commands.h).
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <iterator>
#include <vector>

#include "bpf_commands.h"
#include "call.h"

namespace efuse {
namespace {

constexpr size_t kAttrBytes = 256;
constexpr size_t kInfoBytes = 1024;

// Why the last call of this thread was not let through.
thread_local char refusal[256];

__attribute__((format(printf, 2, 3))) int Refuse(int error, const char* format, ...) {
  va_list list;
  va_start(list, format);
  vsnprintf(refusal, sizeof refusal, format, list);
  va_end(list);
  return -error;
}

template <typename T>
T Get(const void* bytes, size_t offset) {
  T value;
  memcpy(&value, static_cast<const char*>(bytes) + offset, sizeof value);
  return value;
}

template <typename T>
void Put(void* bytes, size_t offset, T value) {
  memcpy(static_cast<char*>(bytes) + offset, &value, sizeof value);
}

uint64_t Address(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

// The kernel reads and writes as much as bpf_attr says, so it is given a whole one.
long BpfSyscall(uint32_t command, void* attr, size_t size) {
  return syscall(SYS_bpf, command, attr, size);
}

// What /proc calls a descriptor: "bpf-map", "bpf-prog", "bpf_link", "btf"; or else the file's own name. 0 or -errno.
int KindOf(int fd, char* kind, size_t size) {
  char path[32];
  char name[128];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(path, name, sizeof name - 1);
  // Without /proc ENOENT as well: then nothing is known, and nothing is done.
  if (length < 0) return errno == ENOENT ? -EBADF : -errno;
  name[length] = '\0';
  // "anon_inode:bpf-map", "anon_inode:[btf]"
  constexpr char kPrefix[] = "anon_inode:";
  const char* start = name;
  if (strncmp(name, kPrefix, sizeof kPrefix - 1) == 0) {
    start += sizeof kPrefix - 1;
    if (*start == '[') {
      start++;
      if (char* end = strchr(name, ']')) *end = '\0';
    }
  }
  snprintf(kind, size, "%s", start);
  return 0;
}

// Maps -------------------------------------------------------------------------------------------

// CPUs for which a per-CPU map has values, as the kernel counts them: possible ones, not those that are there.
uint32_t PossibleCpus() {
  static const uint32_t count = [] {
    FILE* file = fopen("/sys/devices/system/cpu/possible", "re");
    uint32_t last = static_cast<uint32_t>(sysconf(_SC_NPROCESSORS_CONF)) - 1;
    if (file != nullptr) {
      uint32_t low = 0;
      uint32_t high = 0;
      char more = 0;
      // Ranges such as "0-3,8-11"; the kernel's sets of possible CPUs have no holes in practice, and one counted
      // too many only makes the check stricter.
      do {
        const int got = fscanf(file, "%u-%u", &low, &high);
        if (got == 2) last = high;
        if (got == 1) last = low;
      } while (fscanf(file, "%c", &more) == 1 && more == ',');
      fclose(file);
    }
    return last + 1;
  }();
  return count;
}

struct Shape {
  uint32_t type, key, value, entries, flags;
  // What the kernel copies of a value: one for each CPU, each in whole 8 bytes, where the map has so many.
  uint64_t whole;
};

bool PerCpu(uint32_t type) {
  // PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH, PERCPU_CGROUP_STORAGE
  return type == 5 || type == 6 || type == 10 || type == 21;
}

// The sizes of a map. Of a descriptor that is none they mean nothing, and the kernel refuses it where a map is
// wanted.
int ShapeOf(int fd, Shape* shape) {
  uint32_t info[6] = {};  // the start of struct bpf_map_info
  char attr[16] = {};
  Put(attr, 0, fd);
  Put(attr, 4, static_cast<uint32_t>(sizeof info));
  Put(attr, 8, Address(info));
  if (BpfSyscall(kObjectInfo, attr, sizeof attr) < 0) return -errno;
  *shape = Shape{info[0], info[2], info[3], info[4], info[5], info[3]};
  // Maps of programs or maps take and give 4 bytes, which is their value's size.
  if (PerCpu(shape->type)) shape->whole = (uint64_t{shape->value} + 7) / 8 * 8 * PossibleCpus();
  return 0;
}

// BPF_F_CPU and BPF_F_ALL_CPUS: one value for one or all CPUs.
uint64_t ValueBytes(const Shape& shape, uint64_t flags) { return flags & 24 ? shape.value : shape.whole; }

// Translation ------------------------------------------------------------------------------------

class Translation {
 public:
  Translation(const Blocks& blocks, int32_t block, const char* command)
      : blocks_(blocks), block_(block), command_(command) {}

  // Replaces the pointers of a table's row by addresses. `record` is a copy, of `size` bytes.
  template <size_t count>
  int Translate(char* record, size_t size, const Pointer (&pointers)[count]) {
    for (const Pointer& pointer : pointers) {
      if (pointer.name == nullptr) break;
      if (size < pointer.at + sizeof(uint64_t)) continue;
      const uint64_t offset = Get<uint64_t>(record, pointer.at);
      if (offset == 0) continue;
      const int error = TranslateOne(record, size, pointer, offset);
      if (error != 0) return error;
    }
    return 0;
  }

  // The pointers as they were, in what the kernel has written to since.
  template <size_t count>
  void Restore(char* record, size_t size, const char* original, const Pointer (&pointers)[count]) const {
    for (const Pointer& pointer : pointers) {
      if (pointer.name == nullptr) break;
      if (size >= pointer.at + sizeof(uint64_t)) memcpy(record + pointer.at, original + pointer.at, sizeof(uint64_t));
    }
  }

  // [offset, offset + length) of the block; null and a refusal when it is not inside.
  char* Range(const char* name, uint64_t offset, uint64_t length) const {
    char* start = offset > kMaxBlock || length > kMaxBlock
                      ? nullptr
                      : blocks_.Range(block_, static_cast<int32_t>(offset), static_cast<int32_t>(length));
    if (start == nullptr) {
      Refuse(EFAULT, "%s: %s: %llu bytes at %llu lie outside the memory", command_, name,
             static_cast<unsigned long long>(length), static_cast<unsigned long long>(offset));
    }
    return start;
  }

 private:
  int TranslateOne(char* record, size_t size, const Pointer& pointer, uint64_t offset) {
    const auto field = [&](uint16_t at) { return size < at + sizeof(uint32_t) ? 0 : Get<uint32_t>(record, at); };
    uint64_t length = 0;
    switch (pointer.extent) {
      case Extent::kItems:
        length = uint64_t{field(pointer.count)} * pointer.unit;
        break;
      case Extent::kOutput:
        length = field(pointer.count);
        if (length == 0) return Refuse(EINVAL, "%s: %s has no length", command_, pointer.name);
        break;
      case Extent::kRecords:
        length = uint64_t{field(pointer.count)} * field(pointer.unit);
        break;
      case Extent::kString:
        return TranslateString(record + pointer.at, pointer.name, offset);
      case Extent::kStrings:
        return TranslateStrings(record + pointer.at, pointer.name, offset, field(pointer.count));
      case Extent::kFdArray:
        length = uint64_t{field(pointer.count)} * sizeof(int);
        if (length == 0) length = FdArrayBytes(record);
        break;
      case Extent::kInfo:
        length = field(pointer.count);
        break;
      case Extent::kKey:
      case Extent::kNextKey:
      case Extent::kValue:
      case Extent::kKeys:
      case Extent::kValues:
      case Extent::kCursor: {
        Shape shape;
        const int error = ShapeOf(Get<int>(record, pointer.count), &shape);
        if (error != 0) return error;
        length = MapBytes(record, pointer, shape);
      }
    }
    const char* start = Range(pointer.name, offset, length);
    if (start == nullptr) return -EFAULT;
    Put(record, pointer.at, Address(start));
    return 0;
  }

  static uint64_t MapBytes(const char* record, const Pointer& pointer, const Shape& shape) {
    switch (pointer.extent) {
      case Extent::kValue:
        return ValueBytes(shape, Get<uint64_t>(record, 24));
      case Extent::kKeys:
        return uint64_t{Get<uint32_t>(record, pointer.unit)} * shape.key;
      case Extent::kValues:
        return Get<uint32_t>(record, pointer.unit) * ValueBytes(shape, Get<uint64_t>(record, 40));
      case Extent::kCursor:
        // A key, or a hash table's bucket.
        return shape.key < sizeof(uint32_t) ? sizeof(uint32_t) : shape.key;
      default:
        return shape.key;
    }
  }

  int TranslateString(char* field, const char* name, uint64_t offset) const {
    size_t rest = 0;
    const char* start = offset > kMaxBlock ? nullptr : blocks_.Rest(block_, static_cast<int32_t>(offset), &rest);
    if (start == nullptr || memchr(start, '\0', rest) == nullptr) {
      return Refuse(EFAULT, "%s: %s: the string at %llu does not end inside the memory", command_, name,
                    static_cast<unsigned long long>(offset));
    }
    Put(field, 0, Address(start));
    return 0;
  }

  int TranslateStrings(char* field, const char* name, uint64_t offset, uint32_t count) {
    const char* start = Range(name, offset, uint64_t{count} * sizeof(uint64_t));
    if (start == nullptr) return -EFAULT;
    strings_.emplace_back(count);
    std::vector<uint64_t>& copy = strings_.back();
    for (uint32_t i = 0; i < count; i++) {
      const uint64_t string = Get<uint64_t>(start, i * sizeof(uint64_t));
      const int error = TranslateString(reinterpret_cast<char*>(&copy[i]), name, string);
      if (error != 0) return error;
    }
    Put(field, 0, Address(copy.data()));
    return 0;
  }

  // An array whose length is not given has as many descriptors as the program names: by a call of a module's
  // function (BPF_PSEUDO_KFUNC_CALL) or a load of a map's address (BPF_PSEUDO_MAP_IDX, _IDX_VALUE). `record`
  // has its instructions' address already.
  static uint64_t FdArrayBytes(const char* record) {
    const char* instructions = reinterpret_cast<const char*>(static_cast<uintptr_t>(Get<uint64_t>(record, kLoadInsns)));
    const uint32_t count = instructions == nullptr ? 0 : Get<uint32_t>(record, kLoadInsnCount);
    uint64_t entries = 0;
    for (uint32_t i = 0; i < count; i++) {
      const char* instruction = instructions + size_t{i} * 8;
      const uint8_t code = Get<uint8_t>(instruction, 0);
      const uint8_t source = Get<uint8_t>(instruction, 1) >> 4;
      uint64_t last = 0;
      if (code == 0x85 && source == 2) {
        last = static_cast<uint16_t>(Get<int16_t>(instruction, 2));
      } else if (code == 0x18 && (source == 5 || source == 6)) {
        last = Get<uint32_t>(instruction, 4);
      } else {
        continue;
      }
      if (last + 1 > entries) entries = last + 1;
    }
    return entries * sizeof(int);
  }

  const Blocks& blocks_;
  const int32_t block_;
  const char* command_;
  // Arrays that stand for those in the block, until the call is made.
  std::vector<std::vector<uint64_t>> strings_;
};

const Command* FindCommand(uint32_t number) {
  for (const Command& command : kCommands) {
    if (command.number == number) return &command;
  }
  return nullptr;
}

const Link* FindLink(uint32_t attach_type) {
  for (const Link& link : kLinks) {
    if (link.attach_type == attach_type) return &link;
  }
  return nullptr;
}

bool ZeroFrom(const char* bytes, size_t from, size_t to) {
  for (size_t i = from; i < to; i++) {
    if (bytes[i] != 0) return false;
  }
  return true;
}

// The row for a descriptor's information; null with *error set when it is of no known kind.
const Info* FindInfo(int fd, int* error) {
  char kind[128];
  *error = KindOf(fd, kind, sizeof kind);
  if (*error != 0) return nullptr;
  // The kernel spells it otherwise when a link is opened by its number or its pin.
  if (strcmp(kind, "bpf-link") == 0) strcpy(kind, "bpf_link");
  const bool link = strcmp(kind, "bpf_link") == 0;
  uint32_t type = 0;
  if (link) {
    char info[kPlainLinkInfoEnd] = {};
    char attr[16] = {};
    Put(attr, 0, fd);
    Put(attr, 4, uint32_t{sizeof info});
    Put(attr, 8, Address(info));
    if (BpfSyscall(kObjectInfo, attr, sizeof attr) < 0) {
      *error = -errno;
      return nullptr;
    }
    type = Get<uint32_t>(info, 0);
    if (type > kNewestLinkType) {
      *error = Refuse(EOPNOTSUPP, "BPF_OBJ_GET_INFO_BY_FD: links of type %u are not known", type);
      return nullptr;
    }
  }
  static constexpr Info kPlainLink = {"struct bpf_link_info", "bpf_link", -1, kPlainLinkInfoEnd, {}};
  for (const Info& info : kInfos) {
    if (strcmp(kind, info.descriptor) != 0) continue;
    if (info.link_type == -1 || static_cast<uint32_t>(info.link_type) == type) return &info;
  }
  if (link) return &kPlainLink;
  *error = Refuse(EINVAL, "BPF_OBJ_GET_INFO_BY_FD: descriptor %d is nothing of BPF's", fd);
  return nullptr;
}

// BPF_OBJ_GET_INFO_BY_FD: what is filled holds pointers itself, so the kernel fills a copy. `user` is the
// information in the block, `attr` is translated up to that.
int GetInfo(Translation& translation, char* attr, char* user) {
  const uint32_t length = Get<uint32_t>(attr, 4);
  int error = 0;
  const Info* info = FindInfo(Get<int>(attr, 0), &error);
  if (info == nullptr) return error;
  char copy[kInfoBytes] = {};
  if (length > sizeof copy || (length > info->end && !ZeroFrom(user, info->end, length)))
    return Refuse(E2BIG, "BPF_OBJ_GET_INFO_BY_FD: %s is longer than is known", info->name);
  if (user != nullptr) memcpy(copy, user, length);
  error = translation.Translate(copy, length, info->pointers);
  if (error != 0) return error;
  Put(attr, 8, user == nullptr ? uint64_t{0} : Address(copy));
  const int result = Result(BpfSyscall(kObjectInfo, attr, 16));
  if (user != nullptr) {
    translation.Restore(copy, length, user, info->pointers);
    memcpy(user, copy, length);
  }
  return result;
}

// Whether a test run's context has a pointer of its own: the first argument of a struct_ops program is one.
bool PointsElsewhere(const Thread& t, const char* attr) {
  const uint64_t context = Get<uint64_t>(attr, kTestContext);
  const uint32_t size = Get<uint32_t>(attr, kTestContextSize);
  if (context == 0 || size == 0) return false;
  uint32_t info[2] = {};  // the start of struct bpf_prog_info
  char request[16] = {};
  Put(request, 0, Get<int>(attr, 0));
  Put(request, 4, static_cast<uint32_t>(sizeof info));
  Put(request, 8, Address(info));
  if (BpfSyscall(kObjectInfo, request, sizeof request) < 0 || info[0] != kStructOpsProgram) return false;
  if (context > kMaxBlock || size > kMaxBlock) return true;
  const char* bytes = t.blocks->Range(t.Int(2), static_cast<int32_t>(context), static_cast<int32_t>(size));
  return bytes == nullptr || !ZeroFrom(bytes, 0, size < sizeof(uint64_t) ? size : sizeof(uint64_t));
}

int Bpf(Thread& t) {
  refusal[0] = '\0';
  const uint32_t number = t.Unsigned(1);
  const size_t size = t.Unsigned(4);
  const Command* command = FindCommand(number);
  if (command == nullptr) return Refuse(EOPNOTSUPP, "bpf command %u is not known", number);
  char* user = t.Bytes(2);
  if (user == nullptr) return Refuse(EFAULT, "%s: bpf_attr lies outside the memory", command->name);

  char attr[kAttrBytes] = {};
  char original[kAttrBytes] = {};
  size_t end = command->end;
  const Link* link = nullptr;
  if (number == kLinkCreate && size >= kLinkAttachType + sizeof(uint32_t)) {
    const uint32_t attach_type = Get<uint32_t>(user, kLinkAttachType);
    if (attach_type > kNewestAttachType)
      return Refuse(EOPNOTSUPP, "%s: attach type %u is not known", command->name, attach_type);
    link = FindLink(attach_type);
    end = link == nullptr ? kPlainLinkEnd : link->end;
  }
  // What is not known may be a pointer.
  if (size > sizeof attr || (size > end && !ZeroFrom(user, end, size)))
    return Refuse(E2BIG, "%s: bpf_attr has fields that are not known", command->name);
  memcpy(attr, user, size);
  memcpy(original, user, size);

  if (number == kTestRun && PointsElsewhere(t, attr))
    return Refuse(EOPNOTSUPP, "%s: the context of a struct_ops program holds an address", command->name);
  Translation translation(*t.blocks, t.Int(2), command->name);
  int error = link == nullptr ? translation.Translate(attr, size, command->pointers)
                              : translation.Translate(attr, size, link->pointers);
  if (error != 0) return error;

  int result;
  if (number == kObjectInfo) {
    if (size < 16) return Refuse(EINVAL, "%s: bpf_attr is too short", command->name);
    char* info = reinterpret_cast<char*>(static_cast<uintptr_t>(Get<uint64_t>(attr, 8)));
    result = GetInfo(translation, attr, info);
  } else {
    result = Result(BpfSyscall(number, attr, size));
  }
  if (link == nullptr)
    translation.Restore(attr, size, original, command->pointers);
  else
    translation.Restore(attr, size, original, link->pointers);
  memcpy(user, attr, size);
  return command->descriptor ? t.descriptors.Add(result) : result;
}

Napi::Value Refusal(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), refusal); }

// The table, for the test that compares it with the kernel's header.
Napi::Value CommandTable(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array rows = Napi::Array::New(env);
  const auto add = [&](const char* name, const char* type, uint32_t number, bool descriptor, uint32_t end,
                       const Pointer* pointers, size_t count) {
    Napi::Object row = Napi::Object::New(env);
    row.Set("name", name);
    row.Set("struct", type);
    row.Set("number", number);
    row.Set("descriptor", descriptor);
    row.Set("end", end);
    Napi::Array fields = Napi::Array::New(env);
    for (size_t i = 0; i < count && pointers[i].name != nullptr; i++) {
      Napi::Object field = Napi::Object::New(env);
      field.Set("name", pointers[i].name);
      field.Set("at", uint32_t{pointers[i].at});
      field.Set("extent", static_cast<uint32_t>(pointers[i].extent));
      field.Set("count", uint32_t{pointers[i].count});
      field.Set("unit", uint32_t{pointers[i].unit});
      fields.Set(static_cast<uint32_t>(i), field);
    }
    row.Set("pointers", fields);
    rows.Set(rows.Length(), row);
  };
  constexpr char kAttr[] = "union bpf_attr";
  for (const Command& c : kCommands)
    add(c.name, kAttr, c.number, c.descriptor, c.end, c.pointers, std::size(c.pointers));
  for (const Link& l : kLinks) add(l.name, kAttr, l.attach_type, false, l.end, l.pointers, std::size(l.pointers));
  for (const Info& i : kInfos) add(i.name, i.name, 0, false, i.end, i.pointers, std::size(i.pointers));
  return rows;
}

// Descriptors ------------------------------------------------------------------------------------

int BpfClose(Thread& t) {
  t.descriptors.Remove(t.Int(1));
  return Result(close(t.Int(1)));
}

int BpfDuplicate(Thread& t) { return t.descriptors.Add(Result(fcntl(t.Int(1), F_DUPFD_CLOEXEC, t.Int(2)))); }

// Makes a descriptor's number stand for another file. Only for numbers that this thread has made here.
int BpfReplace(Thread& t) {
  if (!t.descriptors.Has(t.Int(2))) return -EBADF;
  return Result(dup3(t.Int(1), t.Int(2), O_CLOEXEC));
}

// A descriptor to hold a number.
int BpfPlaceholder(Thread& t) { return t.descriptors.Add(Result(open("/dev/null", O_RDONLY | O_CLOEXEC))); }

// A PMU's number, which the kernel gives at boot; or -1.
int PmuType(const char* path) {
  FILE* file = fopen(path, "re");
  if (file == nullptr) return -1;
  int type = -1;
  if (fscanf(file, "%d", &type) != 1) type = -1;
  fclose(file);
  return type;
}

// perf_event_open(2), for tracepoints, and for probes, whose attr names a function or file: no other kinds, so
// that it is known which fields are pointers.
int PerfEventOpen(Thread& t) {
  refusal[0] = '\0';
  perf_event_attr attr = {};
  const char* user = t.Bytes(1, 8);
  if (user == nullptr) return -EFAULT;
  const uint32_t size = Get<uint32_t>(user, 4);
  user = size > INT32_MAX ? nullptr : t.Bytes(1, static_cast<int32_t>(size));
  if (user == nullptr) return -EFAULT;
  const size_t known = size < sizeof attr ? size : sizeof attr;
  if (size < PERF_ATTR_SIZE_VER0 || !ZeroFrom(user, known, size)) return -E2BIG;
  memcpy(&attr, user, known);
  attr.size = static_cast<uint32_t>(known);
  if (attr.type != PERF_TYPE_TRACEPOINT && attr.type != PERF_TYPE_SOFTWARE) {
    const int type = static_cast<int>(attr.type);
    if (type != PmuType("/sys/bus/event_source/devices/kprobe/type") &&
        type != PmuType("/sys/bus/event_source/devices/uprobe/type"))
      return Refuse(EOPNOTSUPP, "perf_event_open: events of type %u are not known", attr.type);
    if (attr.config1 != 0) {
      size_t rest = 0;
      const char* name = attr.config1 > kMaxBlock
                             ? nullptr
                             : t.blocks->Rest(t.Int(1), static_cast<int32_t>(attr.config1), &rest);
      if (name == nullptr || memchr(name, '\0', rest) == nullptr)
        return Refuse(EFAULT, "perf_event_open: the name lies outside the memory");
      attr.config1 = Address(name);
    }
  }
  return t.descriptors.Add(Result(syscall(SYS_perf_event_open, &attr, t.Int(3), t.Int(4), t.Int(5), t.Unsigned(6))));
}

// Maps from JavaScript ---------------------------------------------------------------------------

// Opens a map for the calls below: a descriptor of its own, with the sizes that every access is checked
// against. Leaves them in the registers.
int BpfMapOpen(Thread& t) {
  char kind[128];
  int error = KindOf(t.Int(1), kind, sizeof kind);
  if (error != 0) return error;
  if (strcmp(kind, "bpf-map") != 0) return -EINVAL;
  Shape shape;
  error = ShapeOf(t.Int(1), &shape);
  if (error != 0) return error;
  const int fd = fcntl(t.Int(1), F_DUPFD_CLOEXEC, 3);
  if (fd < 0) return -errno;
  const int handle = ++t.last_map;
  t.maps.emplace(handle, BpfMap{t.descriptors.Add(fd), shape.key, shape.whole, shape.value});
  const uint32_t values[] = {shape.type, shape.key, shape.value, shape.entries, shape.flags,
                             static_cast<uint32_t>(shape.whole), static_cast<uint32_t>(fd)};
  for (size_t i = 0; i < std::size(values); i++) t.registers[1 + i] = static_cast<int32_t>(values[i]);
  return handle;
}

int BpfMapClose(Thread& t) {
  const auto found = t.maps.find(t.Int(1));
  if (found == t.maps.end()) return -EBADF;
  const int fd = found->second.fd;
  t.maps.erase(found);
  t.descriptors.Remove(fd);
  return Result(close(fd));
}

// (command, map, block, key, value, flags): offsets in the block, 0 for none.
int BpfMapElement(Thread& t) {
  const uint32_t command = t.Unsigned(1);
  if (command != kMapLookup && command != kMapUpdate && command != kMapDelete && command != kMapNextKey &&
      command != kMapLookupAndDelete)
    return -EINVAL;
  const auto found = t.maps.find(t.Int(2));
  if (found == t.maps.end()) return -EBADF;
  const BpfMap& map = found->second;
  const int32_t block = t.Int(3);
  const uint64_t flags = static_cast<uint64_t>(t.Wide(6));
  const uint64_t value_bytes = command == kMapNextKey ? map.key : (flags & 24 ? map.value : map.whole);
  if (map.key > kMaxBlock || value_bytes > kMaxBlock) return -EFAULT;
  char attr[32] = {};
  Put(attr, 0, map.fd);
  if (t.Int(4) != 0) {
    const char* key = t.blocks->Range(block, t.Int(4), static_cast<int32_t>(map.key));
    if (key == nullptr) return -EFAULT;
    Put(attr, 8, Address(key));
  }
  if (t.Int(5) != 0) {
    const char* value = t.blocks->Range(block, t.Int(5), static_cast<int32_t>(value_bytes));
    if (value == nullptr) return -EFAULT;
    Put(attr, 16, Address(value));
  }
  if (command != kMapNextKey) Put(attr, 24, flags);
  return Result(BpfSyscall(command, attr, sizeof attr));
}

constexpr Call kCalls[] = {
    {"bpf", Invoke<Bpf>},
    {"bpfClose", Invoke<BpfClose>},
    {"bpfDuplicate", Invoke<BpfDuplicate>},
    {"bpfReplace", Invoke<BpfReplace>},
    {"bpfPlaceholder", Invoke<BpfPlaceholder>},
    {"perfEventOpen", Invoke<PerfEventOpen>},
    {"bpfMapOpen", Invoke<BpfMapOpen>},
    {"bpfMapClose", Invoke<BpfMapClose>},
    {"bpfMapElement", Invoke<BpfMapElement>},
};

}  // namespace

void AddBpfCalls(Exports& exports) {
  exports.Add(kCalls);
  exports.AddOrdinary("bpfRefusal", Refusal);
  exports.AddOrdinary("bpfCommandTable", CommandTable);
}

}  // namespace efuse
