// SPDX-License-Identifier: MIT
// The commands of bpf(2) as a table: which fields of `union bpf_attr` point at memory, and how much of it the
// kernel reads or writes there. A command or a field that is not here is not let through.
//
// From Linux' include/uapi/linux/bpf.h, which the build need not have in this version: offsets are ABI.
// test/bpf/commands.test.ts checks each against the header that libbpf brings.
#pragma once

#include <cstdint>

namespace efuse {

// How many bytes lie behind a pointer. `count` and `unit` are offsets of u32 fields of the same struct, where
// not said otherwise.
enum class Extent : uint8_t {
  kItems,       // u32 at `count`, times the constant `unit`
  kOutput,      // u32 at `count`, and not 0, which the kernel takes for "as much as there is"
  kRecords,     // u32 at `count`, times u32 at `unit`
  kString,      // up to and with a NUL
  kStrings,     // u32 at `count` pointers to strings
  kKey,         // as the map has it, whose descriptor is at `count`
  kValue,       // that map's value, for all CPUs if it has one for each
  kNextKey,     // that map's key, written
  kKeys,        // u32 at `unit` keys of that map
  kValues,      // u32 at `unit` values of that map
  kCursor,      // a position in that map
  kInfo,        // u32 at `count` bytes, with pointers of their own (see kInfos)
  kFdArray,     // u32 at `count` descriptors, or as many as the instructions use
};

struct Pointer {
  const char* name;  // as C would write it after `union bpf_attr`, or null at the end
  uint16_t at;
  Extent extent;
  uint16_t count;
  uint16_t unit;
};

struct Command {
  const char* name;
  uint32_t number;
  uint16_t end;      // bytes that the command has; a longer attr is zero from there on
  bool descriptor;   // the result is a new descriptor
  Pointer pointers[8];
};

// Offsets that are used on both sides.
constexpr uint16_t kElementMap = 0, kBatchMap = 36, kBatchCount = 32;
constexpr uint16_t kLoadInsns = 8, kLoadInsnCount = 4;
constexpr uint16_t kLinkAttachType = 8;
constexpr uint16_t kTestContext = 48, kTestContextSize = 40;
constexpr uint32_t kStructOpsProgram = 27;  // BPF_PROG_TYPE_STRUCT_OPS

constexpr Pointer kElementKey = {"key", 8, Extent::kKey, kElementMap, 0};
constexpr Pointer kElementValue = {"value", 16, Extent::kValue, kElementMap, 0};
constexpr Pointer kBatchIn = {"batch.in_batch", 0, Extent::kCursor, kBatchMap, 0};
constexpr Pointer kBatchOut = {"batch.out_batch", 8, Extent::kCursor, kBatchMap, 0};
constexpr Pointer kBatchKeys = {"batch.keys", 16, Extent::kKeys, kBatchMap, kBatchCount};
constexpr Pointer kBatchValues = {"batch.values", 24, Extent::kValues, kBatchMap, kBatchCount};

constexpr uint32_t kMapLookup = 1, kMapUpdate = 2, kMapDelete = 3, kMapNextKey = 4, kProgLoad = 5,
                   kTestRun = 10, kObjectInfo = 15, kMapLookupAndDelete = 21, kLinkCreate = 28;

constexpr Command kCommands[] = {
    {"BPF_MAP_CREATE", 0, 92, true, {{"excl_prog_hash", 80, Extent::kItems, 88, 1}}},
    {"BPF_MAP_LOOKUP_ELEM", kMapLookup, 32, false, {kElementKey, kElementValue}},
    {"BPF_MAP_UPDATE_ELEM", kMapUpdate, 32, false, {kElementKey, kElementValue}},
    {"BPF_MAP_DELETE_ELEM", kMapDelete, 32, false, {kElementKey}},
    {"BPF_MAP_GET_NEXT_KEY", kMapNextKey, 32, false, {kElementKey, {"next_key", 16, Extent::kNextKey, kElementMap, 0}}},
    {"BPF_PROG_LOAD", kProgLoad, 168, true,
     {{"insns", kLoadInsns, Extent::kItems, kLoadInsnCount, 8},
      {"license", 16, Extent::kString, 0, 0},
      {"log_buf", 32, Extent::kItems, 28, 1},
      {"func_info", 80, Extent::kRecords, 88, 76},
      {"line_info", 96, Extent::kRecords, 104, 92},
      {"fd_array", 120, Extent::kFdArray, 148, 0},
      {"core_relos", 128, Extent::kRecords, 116, 136},
      {"signature", 152, Extent::kItems, 160, 1}}},
    {"BPF_OBJ_PIN", 6, 20, false, {{"pathname", 0, Extent::kString, 0, 0}}},
    {"BPF_OBJ_GET", 7, 20, true, {{"pathname", 0, Extent::kString, 0, 0}}},
    {"BPF_PROG_ATTACH", 8, 32, false, {}},
    {"BPF_PROG_DETACH", 9, 32, false, {}},
    {"BPF_PROG_TEST_RUN", kTestRun, 76, false,
     {{"test.data_in", 16, Extent::kItems, 8, 1},
      {"test.data_out", 24, Extent::kOutput, 12, 0},
      {"test.ctx_in", 48, Extent::kItems, 40, 1},
      {"test.ctx_out", 56, Extent::kItems, 44, 1}}},
    {"BPF_PROG_GET_NEXT_ID", 11, 16, false, {}},
    {"BPF_MAP_GET_NEXT_ID", 12, 16, false, {}},
    {"BPF_PROG_GET_FD_BY_ID", 13, 16, true, {}},
    {"BPF_MAP_GET_FD_BY_ID", 14, 16, true, {}},
    {"BPF_OBJ_GET_INFO_BY_FD", kObjectInfo, 16, false, {{"info.info", 8, Extent::kInfo, 4, 0}}},
    {"BPF_PROG_QUERY", 16, 64, false,
     {{"query.prog_ids", 16, Extent::kItems, 24, 4},
      {"query.prog_attach_flags", 32, Extent::kItems, 24, 4},
      {"query.link_ids", 40, Extent::kItems, 24, 4},
      {"query.link_attach_flags", 48, Extent::kItems, 24, 4}}},
    {"BPF_RAW_TRACEPOINT_OPEN", 17, 24, true, {{"raw_tracepoint.name", 0, Extent::kString, 0, 0}}},
    {"BPF_BTF_LOAD", 18, 40, true,
     {{"btf", 0, Extent::kItems, 16, 1}, {"btf_log_buf", 8, Extent::kItems, 20, 1}}},
    {"BPF_BTF_GET_FD_BY_ID", 19, 16, true, {}},
    {"BPF_TASK_FD_QUERY", 20, 48, false, {{"task_fd_query.buf", 16, Extent::kItems, 12, 1}}},
    {"BPF_MAP_LOOKUP_AND_DELETE_ELEM", kMapLookupAndDelete, 32, false, {kElementKey, kElementValue}},
    {"BPF_MAP_FREEZE", 22, 4, false, {}},
    {"BPF_BTF_GET_NEXT_ID", 23, 16, false, {}},
    {"BPF_MAP_LOOKUP_BATCH", 24, 56, false, {kBatchIn, kBatchOut, kBatchKeys, kBatchValues}},
    {"BPF_MAP_LOOKUP_AND_DELETE_BATCH", 25, 56, false, {kBatchIn, kBatchOut, kBatchKeys, kBatchValues}},
    {"BPF_MAP_UPDATE_BATCH", 26, 56, false, {kBatchIn, kBatchOut, kBatchKeys, kBatchValues}},
    {"BPF_MAP_DELETE_BATCH", 27, 56, false, {kBatchIn, kBatchOut, kBatchKeys, kBatchValues}},
    // Its pointers depend on what is attached: kLinks.
    {"BPF_LINK_CREATE", kLinkCreate, 60, true, {}},
    {"BPF_LINK_UPDATE", 29, 16, false, {}},
    {"BPF_LINK_GET_FD_BY_ID", 30, 16, true, {}},
    {"BPF_LINK_GET_NEXT_ID", 31, 16, false, {}},
    {"BPF_ENABLE_STATS", 32, 4, true, {}},
    {"BPF_ITER_CREATE", 33, 8, true, {}},
    {"BPF_LINK_DETACH", 34, 4, false, {}},
    {"BPF_PROG_BIND_MAP", 35, 12, false, {}},
    {"BPF_TOKEN_CREATE", 36, 8, true, {}},
    {"BPF_PROG_STREAM_READ_BY_FD", 37, 20, false, {{"prog_stream_read.stream_buf", 0, Extent::kItems, 8, 1}}},
    {"BPF_PROG_ASSOC_STRUCT_OPS", 38, 12, false, {}},
};

// BPF_LINK_CREATE by `attach_type`. What is not here has no pointers, up to the newest type that was looked at.
struct Link {
  const char* name;
  uint32_t attach_type;
  uint16_t end;
  Pointer pointers[5];
};

constexpr uint32_t kNewestAttachType = 58;  // BPF_TRACE_FSESSION
constexpr uint16_t kPlainLinkEnd = 32;

#define KPROBE_MULTI                                                    \
  {                                                                     \
    {"link_create.kprobe_multi.syms", 24, Extent::kStrings, 20, 0},     \
    {"link_create.kprobe_multi.addrs", 32, Extent::kItems, 20, 8},      \
    {"link_create.kprobe_multi.cookies", 40, Extent::kItems, 20, 8},    \
  }
#define UPROBE_MULTI                                                           \
  {                                                                            \
    {"link_create.uprobe_multi.path", 16, Extent::kString, 0, 0},              \
    {"link_create.uprobe_multi.offsets", 24, Extent::kItems, 48, 8},           \
    {"link_create.uprobe_multi.ref_ctr_offsets", 32, Extent::kItems, 48, 8},   \
    {"link_create.uprobe_multi.cookies", 40, Extent::kItems, 48, 8},           \
  }
constexpr Link kLinks[] = {
    {"BPF_TRACE_ITER", 28, 28, {{"link_create.iter_info", 16, Extent::kItems, 24, 1}}},
    {"BPF_TRACE_KPROBE_MULTI", 42, 48, KPROBE_MULTI},
    {"BPF_TRACE_UPROBE_MULTI", 48, 60, UPROBE_MULTI},
    {"BPF_TRACE_KPROBE_SESSION", 56, 48, KPROBE_MULTI},
    {"BPF_TRACE_UPROBE_SESSION", 57, 60, UPROBE_MULTI},
};
#undef KPROBE_MULTI
#undef UPROBE_MULTI

// What BPF_OBJ_GET_INFO_BY_FD fills, by what /proc calls the descriptor. A link's pointers depend on its type.
struct Info {
  const char* name;
  const char* descriptor;
  int link_type;  // -1: any
  uint16_t end;
  Pointer pointers[10];
};

constexpr Info kInfos[] = {
    {"struct bpf_prog_info", "bpf-prog", -1, 232,
     {{"jited_prog_insns", 24, Extent::kItems, 16, 1},
      {"xlated_prog_insns", 32, Extent::kItems, 20, 1},
      {"map_ids", 56, Extent::kItems, 52, 4},
      {"jited_ksyms", 112, Extent::kItems, 104, 8},
      {"jited_func_lens", 120, Extent::kItems, 108, 4},
      {"func_info", 136, Extent::kRecords, 144, 132},
      {"line_info", 152, Extent::kRecords, 148, 172},
      {"jited_line_info", 160, Extent::kRecords, 168, 176},
      {"prog_tags", 184, Extent::kItems, 180, 8}}},
    {"struct bpf_map_info", "bpf-map", -1, 104, {{"hash", 88, Extent::kItems, 96, 1}}},
    {"struct bpf_btf_info", "btf", -1, 32, {{"btf", 0, Extent::kItems, 8, 1}, {"name", 16, Extent::kItems, 24, 1}}},
    {"struct bpf_token_info", "bpf-token", -1, 32, {}},
    {"struct bpf_link_info", "bpf_link", 1, 64, {{"raw_tracepoint.tp_name", 16, Extent::kItems, 24, 1}}},
    {"struct bpf_link_info", "bpf_link", 4, 64, {{"iter.target_name", 16, Extent::kItems, 24, 1}}},
    // A uprobe's file and a tracepoint's name lie at the same place as a kprobe's function.
    {"struct bpf_link_info", "bpf_link", 7, 64, {{"perf_event.kprobe.func_name", 24, Extent::kItems, 32, 1}}},
    {"struct bpf_link_info", "bpf_link", 8, 64,
     {{"kprobe_multi.addrs", 16, Extent::kItems, 24, 8}, {"kprobe_multi.cookies", 40, Extent::kItems, 24, 8}}},
    {"struct bpf_link_info", "bpf_link", 12, 64,
     {{"uprobe_multi.path", 16, Extent::kItems, 48, 1},
      {"uprobe_multi.offsets", 24, Extent::kItems, 52, 8},
      {"uprobe_multi.ref_ctr_offsets", 32, Extent::kItems, 52, 8},
      {"uprobe_multi.cookies", 40, Extent::kItems, 52, 8}}},
};

// Types of links without pointers in their information; newer ones have not been looked at.
constexpr uint32_t kNewestLinkType = 14;  // BPF_LINK_TYPE_SOCKMAP
constexpr uint16_t kPlainLinkInfoEnd = 64;

}  // namespace efuse
