// SPDX-License-Identifier: MIT
// The device: requests in, replies out, and ioctls.
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <time.h>
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

// Tells the processor that this is a loop which waits.
inline void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

int64_t Now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

// Each look takes the lock that the clients need as well.
constexpr int kPausesBetweenLooks = 4;

// Reads from a non-blocking descriptor. When there is nothing: looks again for so many nanoseconds, then sleeps until
// there is, for so many microseconds (-1: any time).
int PatientRead(int fd, char* buffer, size_t capacity, int busy, int patience, int32_t* looks) {
  int64_t end = 0;
  for (*looks = 1;; ++*looks) {
    const ssize_t length = read(fd, buffer, capacity);
    if (length >= 0 || errno != EAGAIN) return Result(length);
    if (busy == 0) break;
    const int64_t now = Now();
    if (end == 0) end = now + busy;
    if (now >= end) break;
    for (int i = 0; i < kPausesBetweenLooks; i++) Pause();
  }
  *looks = 0;
  if (patience == 0) return -EAGAIN;
  pollfd readable{fd, POLLIN, 0};
  const timespec time{patience / 1000000, patience % 1000000 * 1000L};
  if (ppoll(&readable, 1, patience < 0 ? nullptr : &time, nullptr) < 0) return -errno;
  return Result(read(fd, buffer, capacity));
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
  const int busy = t.Int(7);
  const int patience = t.Int(8);
  if (busy > 0 || patience > 0)
    return PatientRead(fd, request, static_cast<size_t>(capacity), busy, patience, &t.registers[Thread::kHigh]);
  t.registers[Thread::kHigh] = 1;
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
