// SPDX-License-Identifier: MIT
// The device: requests in, replies out, and ioctls.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "call.h"

namespace efuse {
namespace {

// Measures what a call costs before it does anything.
int Noop(Thread&) { return 0; }

int Read(Thread& t) {
  char* buffer = t.Bytes(2);
  if (buffer == nullptr) return -EFAULT;
  return Result(read(t.Int(1), buffer, static_cast<size_t>(t.Int(4))));
}

int Write(Thread& t) {
  const char* buffer = t.Bytes(2);
  if (buffer == nullptr) return -EFAULT;
  return Result(write(t.Int(1), buffer, static_cast<size_t>(t.Int(4))));
}

int ReplyAndReceive(Thread& t) {
  const int fd = t.Int(1);
  const int block = t.Int(2);
  const int reply_length = t.Int(4);
  const int capacity = t.Int(6);
  const char* reply = t.blocks->Range(block, t.Int(3), reply_length);
  char* request = t.blocks->Range(block, t.Int(5), capacity);
  if (reply == nullptr || request == nullptr) return -EFAULT;
  int written = 0;
  if (reply_length > 0) written = Result(write(fd, reply, static_cast<size_t>(reply_length)));
  t.registers[Thread::kLow] = written;
  return Result(read(fd, request, static_cast<size_t>(capacity)));
}

// libc declares the request as unsigned long (glibc) or int (musl); the kernel takes 32 bits.
int Ioctl(Thread& t) {
  const uint32_t request = t.Unsigned(2);
  char* argument = t.Bytes(3);
  if (argument == nullptr) return -EFAULT;
  const bool sized = _IOC_DIR(request) != _IOC_NONE;
  if (sized && _IOC_SIZE(request) > t.Unsigned(5)) return -EFAULT;
  return Result(ioctl(t.Int(1), request, argument));
}

int IoctlValue(Thread& t) {
  const uint32_t request = t.Unsigned(2);
  // The kernel would take the number for an address.
  if (_IOC_DIR(request) != _IOC_NONE) return -EFAULT;
  return Result(ioctl(t.Int(1), request, static_cast<unsigned long>(t.Unsigned(3))));
}

int SetNonBlocking(Thread& t) {
  const int flags = fcntl(t.Int(1), F_GETFL);
  if (flags < 0) return -errno;
  return Result(fcntl(t.Int(1), F_SETFL, t.Int(2) != 0 ? flags | O_NONBLOCK : flags & ~O_NONBLOCK));
}

Napi::Value OpenDevice(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>();
  if (path.find('\0') != std::string::npos) return Napi::Number::New(info.Env(), -EINVAL);
  return Napi::Number::New(info.Env(), Result(open(path.c_str(), O_RDWR | O_CLOEXEC)));
}

constexpr Call kCalls[] = {
    {"noop", Invoke<Noop>},
    {"read", Invoke<Read>},
    {"write", Invoke<Write>},
    {"replyAndReceive", Invoke<ReplyAndReceive>},
    {"ioctl", Invoke<Ioctl>},
    {"ioctlValue", Invoke<IoctlValue>},
    {"setNonBlocking", Invoke<SetNonBlocking>},
};

}  // namespace

void AddDeviceCalls(Exports& exports) {
  exports.Add(kCalls);
  exports.AddOrdinary("openDevice", OpenDevice);
}

}  // namespace efuse
