// SPDX-License-Identifier: MIT
// From a table of calls to the functions of the module.
#pragma once

#include <napi.h>

#include "thread.h"

namespace efuse {

// One system call: arguments from the thread's registers, returns the result or -errno.
using SystemCall = int (*)(Thread&);

// The N-API function for a system call. A raw callback that is instantiated per call: a wrapper
// chosen at run time, or converted arguments, would cost more than the rest of it.
template <SystemCall call>
napi_value Invoke(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  Thread& thread = *static_cast<Thread*>(data);
  thread.registers[Thread::kResult] = call(thread);
  return nullptr;
}

struct Call {
  const char* name;
  napi_callback function;
};

// What the module exports to one JavaScript thread.
struct Exports {
  Napi::Env env;
  Napi::Object object;
  Thread* thread;

  template <size_t count>
  void Add(const Call (&calls)[count]) {
    for (const Call& call : calls) {
      napi_value function;
      if (napi_create_function(env, call.name, NAPI_AUTO_LENGTH, call.function, thread, &function) == napi_ok)
        object.Set(call.name, Napi::Value(env, function));
    }
  }

  // For rare calls: strings, callbacks and objects, as ordinary arguments.
  template <typename Function>
  void AddOrdinary(const char* name, Function function) {
    object.Set(name, Napi::Function::New(env, function, name, thread));
  }
};

inline Thread& ThreadOf(const Napi::CallbackInfo& info) { return *static_cast<Thread*>(info.Data()); }

void AddMemoryCalls(Exports& exports);
void AddDeviceCalls(Exports& exports);
void AddPollCalls(Exports& exports);
void AddThreadCalls(Exports& exports);
void AddFileCalls(Exports& exports);
void AddMountCalls(Exports& exports);
void AddUringCalls(Exports& exports);
void AddBpfCalls(Exports& exports);
void AddConstants(Exports& exports);

}  // namespace efuse
