// SPDX-License-Identifier: MIT
// Watching a descriptor from the event loop: libuv's uv_poll, which Node does not expose.
#include <uv.h>

#include "call.h"

namespace efuse {

// One watched descriptor. The event loop owns `handle` until its close callback, which frees this.
struct Poll {
  uv_poll_t handle;
  Napi::FunctionReference callback;
  // Node waits for this hook when the thread ends: handles must be gone before the loop is.
  napi_async_cleanup_hook_handle cleanup = nullptr;

  uv_handle_t* Handle() { return reinterpret_cast<uv_handle_t*>(&handle); }

  void Close() {
    if (uv_is_closing(Handle())) return;
    callback.Reset();
    uv_close(Handle(), [](uv_handle_t* closed) {
      Poll* poll = static_cast<Poll*>(closed->data);
      napi_remove_async_cleanup_hook(poll->cleanup);
      delete poll;
    });
  }
};

namespace {

// libuv's errors are negated errno values already.
void OnEvent(uv_poll_t* handle, int status, int) {
  Poll* poll = static_cast<Poll*>(handle->data);
  const Napi::Env env = poll->callback.Env();
  const Napi::HandleScope scope(env);
  // napi_make_callback: what the callback leaves in the microtask queue runs before the next event.
  // Called raw, as it fails when the thread is ending and runs no JavaScript any more, which is no
  // error: the wrapper would want to throw.
  const napi_value argument = Napi::Number::New(env, status);
  napi_make_callback(env, nullptr, env.Global(), poll->callback.Value(), 1, &argument, nullptr);
  bool pending = false;
  napi_value thrown = nullptr;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending &&
      napi_get_and_clear_last_exception(env, &thrown) == napi_ok) {
    napi_fatal_exception(env, thrown);
  }
}

Napi::Value PollStart(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Thread& thread = ThreadOf(info);
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);

  Poll* poll = new Poll;
  // Until uv_poll_init has succeeded libuv does not know the handle, and there is nothing to close.
  int failure = uv_poll_init(loop, &poll->handle, info[0].As<Napi::Number>().Int32Value());
  if (failure != 0) {
    delete poll;
    return Napi::Number::New(env, failure);
  }
  poll->handle.data = poll;
  poll->callback = Napi::Persistent(info[1].As<Napi::Function>());
  napi_add_async_cleanup_hook(
      env, [](napi_async_cleanup_hook_handle, void* data) { static_cast<Poll*>(data)->Close(); }, poll,
      &poll->cleanup);
  failure = uv_poll_start(&poll->handle, UV_READABLE, OnEvent);
  if (failure != 0) {
    poll->Close();
    return Napi::Number::New(env, failure);
  }
  thread.polls[++thread.last_poll] = poll;
  return Napi::Number::New(env, thread.last_poll);
}

Poll* Find(Thread& t) {
  const auto found = t.polls.find(t.Int(1));
  return found == t.polls.end() ? nullptr : found->second;
}

int PollClose(Thread& t) {
  Poll* poll = Find(t);
  if (poll == nullptr) return -EBADF;
  t.polls.erase(t.Int(1));
  poll->Close();
  return 0;
}

int PollRef(Thread& t) {
  Poll* poll = Find(t);
  if (poll == nullptr) return -EBADF;
  uv_ref(poll->Handle());
  return 0;
}

int PollUnref(Thread& t) {
  Poll* poll = Find(t);
  if (poll == nullptr) return -EBADF;
  uv_unref(poll->Handle());
  return 0;
}

int PollPause(Thread& t) {
  Poll* poll = Find(t);
  if (poll == nullptr) return -EBADF;
  return uv_poll_stop(&poll->handle);
}

int PollResume(Thread& t) {
  Poll* poll = Find(t);
  if (poll == nullptr) return -EBADF;
  return uv_poll_start(&poll->handle, UV_READABLE, OnEvent);
}

constexpr Call kCalls[] = {
    {"pollPause", Invoke<PollPause>},
    {"pollResume", Invoke<PollResume>},
    {"pollClose", Invoke<PollClose>},
    {"pollRef", Invoke<PollRef>},
    {"pollUnref", Invoke<PollUnref>},
};

}  // namespace

void AddPollCalls(Exports& exports) {
  exports.Add(kCalls);
  exports.AddOrdinary("pollStart", PollStart);
}

}  // namespace efuse
