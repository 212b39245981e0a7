// SPDX-License-Identifier: MIT
// The module: one Thread per JavaScript thread that loads it (main or worker), and the calls.
#include "call.h"

namespace efuse {
namespace {

constexpr size_t kGroups = 65536;  // NGROUPS_MAX

// The registers are ordinary JavaScript memory; the reference keeps them in place for good.
template <typename Array>
Array Permanent(Napi::Env env, size_t count) {
  Array array = Array::New(env, count);
  Napi::ObjectReference reference = Napi::Persistent(array.template As<Napi::Object>());
  reference.SuppressDestruct();
  return array;
}

Napi::Object Init(Napi::Env env, Napi::Object object) {
  Thread* thread = new Thread;
  env.SetInstanceData(thread);
  thread->own = Credentials::Current();

  auto registers = Permanent<Napi::Int32Array>(env, Thread::kRegisters);
  auto groups = Permanent<Napi::Uint32Array>(env, kGroups);
  thread->registers = registers.Data();
  thread->groups = groups.Data();
  object.Set("registers", registers);
  object.Set("groups", groups);

  Exports exports{env, object, thread};
  AddMemoryCalls(exports);
  AddDeviceCalls(exports);
  AddPollCalls(exports);
  AddThreadCalls(exports);
  AddFileCalls(exports);
  AddMountCalls(exports);
  AddUringCalls(exports);
  AddBpfCalls(exports);
  AddConstants(exports);
  return object;
}

}  // namespace
}  // namespace efuse

static Napi::Object Init(Napi::Env env, Napi::Object exports) { return efuse::Init(env, exports); }

NODE_API_MODULE(NODE_GYP_MODULE_NAME, Init)
