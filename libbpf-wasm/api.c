// SPDX-License-Identifier: MIT
// What the host calls besides libbpf's own functions (exports.txt): those that take options, which are structs,
// and BTF types as plain numbers, by libbpf's inline functions.
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <linux/bpf.h>

#include "bpf.h"
#include "btf.h"
#include "libbpf.h"

#define EXPORT(name) __attribute__((export_name(#name))) name

__attribute__((import_module("host"), import_name("log"))) void host_log(int level, const char *text, int length);

static int loudest = LIBBPF_WARN;

static int print(enum libbpf_print_level level, const char *format, va_list arguments) {
  if ((int)level > loudest) return 0;
  // Verifier logs are long: as much as there is.
  char *text = NULL;
  const int length = vasprintf(&text, format, arguments);
  if (length >= 0) host_log(level, text, length);
  free(text);
  return 0;
}

// Before everything else. `level`: the highest libbpf_print_level to pass on.
void EXPORT(start)(int level) {
  loudest = level;
  libbpf_set_print(print);
}

// Why the last function that returned a null pointer did so.
int EXPORT(last_error)(void) { return errno; }

// Objects ------------------------------------------------------------------------------------------------

struct bpf_object *EXPORT(object_open)(const void *bytes, size_t size, const char *name, const char *kconfig,
                                       const char *btf_path, int log_level) {
  LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = name, .kconfig = kconfig, .btf_custom_path = btf_path,
              .kernel_log_level = log_level);
  return bpf_object__open_mem(bytes, size, &options);
}

// Attaching ----------------------------------------------------------------------------------------------

struct bpf_link *EXPORT(attach_raw_tracepoint)(const struct bpf_program *program, const char *name, __u64 cookie) {
  LIBBPF_OPTS(bpf_raw_tracepoint_opts, options, .cookie = cookie);
  return bpf_program__attach_raw_tracepoint_opts(program, name, &options);
}

struct bpf_link *EXPORT(attach_trace)(const struct bpf_program *program, __u64 cookie) {
  LIBBPF_OPTS(bpf_trace_opts, options, .cookie = cookie);
  return bpf_program__attach_trace_opts(program, &options);
}

struct bpf_link *EXPORT(attach_tracepoint)(const struct bpf_program *program, const char *category, const char *name,
                                           __u64 cookie) {
  LIBBPF_OPTS(bpf_tracepoint_opts, options, .bpf_cookie = cookie);
  return bpf_program__attach_tracepoint_opts(program, category, name, &options);
}

// An iterator over a map's elements, over tasks (of one thread or process), or over what its section says.
struct bpf_link *EXPORT(attach_iterator)(const struct bpf_program *program, int map_fd, unsigned tid, unsigned pid) {
  union bpf_iter_link_info info = {0};
  LIBBPF_OPTS(bpf_iter_attach_opts, options);
  if (map_fd >= 0) {
    info.map.map_fd = map_fd;
  } else {
    info.task.tid = tid;
    info.task.pid = pid;
  }
  if (map_fd >= 0 || tid || pid) {
    options.link_info = &info;
    options.link_info_len = sizeof info;
  }
  return bpf_program__attach_iter(program, &options);
}

struct bpf_link *EXPORT(attach_kprobe)(const struct bpf_program *program, const char *function, bool at_return,
                                       __u64 cookie) {
  LIBBPF_OPTS(bpf_kprobe_opts, options, .retprobe = at_return, .bpf_cookie = cookie);
  return bpf_program__attach_kprobe_opts(program, function, &options);
}

struct bpf_link *EXPORT(attach_uprobe)(const struct bpf_program *program, int pid, const char *path,
                                       const char *function, bool at_return, __u64 cookie) {
  LIBBPF_OPTS(bpf_uprobe_opts, options, .func_name = function, .retprobe = at_return, .bpf_cookie = cookie);
  return bpf_program__attach_uprobe_opts(program, pid, path, 0, &options);
}

// Runs a program once. `data` and `context` may be null. The result is the program's, or a negated errno.
int EXPORT(test_run)(int fd, const void *data, unsigned data_size, void *out, unsigned out_size, const void *context,
                     unsigned context_size, __u32 *results) {
  LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = data, .data_size_in = data_size, .data_out = out,
              .data_size_out = out_size, .ctx_in = context, .ctx_size_in = context_size, .repeat = 0);
  const int error = bpf_prog_test_run_opts(fd, &options);
  if (error) return error;
  results[0] = options.retval;
  results[1] = options.data_size_out;
  results[2] = options.duration;
  return 0;
}

// BTF ----------------------------------------------------------------------------------------------------

// Numbers of types are checked here: what follows reads their bytes.
static const struct btf_type *type_at(const struct btf *btf, unsigned id) { return btf__type_by_id(btf, id); }

// -EINVAL when there is no such type.
int EXPORT(type_kind)(const struct btf *btf, unsigned id) {
  const struct btf_type *type = type_at(btf, id);
  return type ? btf_kind(type) : -EINVAL;
}

const char *EXPORT(type_name)(const struct btf *btf, unsigned id) {
  const struct btf_type *type = type_at(btf, id);
  return type ? btf__name_by_offset(btf, type->name_off) : NULL;
}

// Members, values, parameters or variables: how many there are.
unsigned EXPORT(type_length)(const struct btf *btf, unsigned id) { return btf_vlen(type_at(btf, id)); }

// Whether an enumeration's values are signed, or a struct has bit-fields.
bool EXPORT(type_flag)(const struct btf *btf, unsigned id) { return btf_kflag(type_at(btf, id)); }

// The size that the type itself states; the kinds that refer to another one have none.
unsigned EXPORT(type_size)(const struct btf *btf, unsigned id) { return type_at(btf, id)->size; }

// The type that a pointer, typedef, qualifier, variable or function refers to.
unsigned EXPORT(type_target)(const struct btf *btf, unsigned id) { return type_at(btf, id)->type; }

// BTF_INT_SIGNED, BTF_INT_CHAR, BTF_INT_BOOL.
unsigned EXPORT(type_int_encoding)(const struct btf *btf, unsigned id) { return btf_int_encoding(type_at(btf, id)); }

unsigned EXPORT(type_int_bits)(const struct btf *btf, unsigned id) { return btf_int_bits(type_at(btf, id)); }

unsigned EXPORT(type_array_element)(const struct btf *btf, unsigned id) { return btf_array(type_at(btf, id))->type; }

unsigned EXPORT(type_array_count)(const struct btf *btf, unsigned id) { return btf_array(type_at(btf, id))->nelems; }

const char *EXPORT(member_name)(const struct btf *btf, unsigned id, unsigned index) {
  return btf__name_by_offset(btf, btf_members(type_at(btf, id))[index].name_off);
}

unsigned EXPORT(member_type)(const struct btf *btf, unsigned id, unsigned index) {
  return btf_members(type_at(btf, id))[index].type;
}

unsigned EXPORT(member_bit_offset)(const struct btf *btf, unsigned id, unsigned index) {
  return btf_member_bit_offset(type_at(btf, id), index);
}

// 0 when the member is no bit-field.
unsigned EXPORT(member_bits)(const struct btf *btf, unsigned id, unsigned index) {
  return btf_member_bitfield_size(type_at(btf, id), index);
}

const char *EXPORT(enumerator_name)(const struct btf *btf, unsigned id, unsigned index) {
  const struct btf_type *type = type_at(btf, id);
  const __u32 name = btf_is_enum64(type) ? btf_enum64(type)[index].name_off : btf_enum(type)[index].name_off;
  return btf__name_by_offset(btf, name);
}

__s64 EXPORT(enumerator_value)(const struct btf *btf, unsigned id, unsigned index) {
  const struct btf_type *type = type_at(btf, id);
  if (btf_is_enum64(type)) return (__s64)btf_enum64_value(btf_enum64(type) + index);
  const __s32 value = btf_enum(type)[index].val;
  return btf_kflag(type) ? value : (__s64)(__u32)value;
}

// Variables of a section (BTF_KIND_DATASEC).
unsigned EXPORT(variable_type)(const struct btf *btf, unsigned id, unsigned index) {
  return btf_var_secinfos(type_at(btf, id))[index].type;
}

unsigned EXPORT(variable_offset)(const struct btf *btf, unsigned id, unsigned index) {
  return btf_var_secinfos(type_at(btf, id))[index].offset;
}

unsigned EXPORT(variable_size)(const struct btf *btf, unsigned id, unsigned index) {
  return btf_var_secinfos(type_at(btf, id))[index].size;
}
