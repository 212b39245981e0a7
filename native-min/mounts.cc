// SPDX-License-Identifier: MIT
// Mounting, watching what is mounted, and the sockets over which fusermount3 hands its descriptor.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>

#include "call.h"
#include "linux_numbers.h"

namespace efuse {
namespace {

// struct mount_attr as first published, under a name that no header can clash with.
struct MountAttributes {
  uint64_t set;
  uint64_t clear;
  uint64_t propagation;
  uint64_t userns_fd;
};

// A C string; null when empty, as mount(2) has it for arguments that are not used.
const char* OrNull(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

bool HoldsNul(const std::string& text) { return text.find('\0') != std::string::npos; }

Napi::Value Mount(const Napi::CallbackInfo& info) {
  const std::string source = info[0].As<Napi::String>();
  const std::string target = info[1].As<Napi::String>();
  const std::string type = info[2].As<Napi::String>();
  const unsigned long flags = info[3].As<Napi::Number>().Uint32Value();
  const std::string data = info[4].As<Napi::String>();
  // The kernel takes one page of options and cuts the rest off without a word.
  const bool too_long = data.length() >= static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (too_long || HoldsNul(source) || HoldsNul(target) || HoldsNul(type) || HoldsNul(data))
    return Napi::Number::New(info.Env(), -EINVAL);
  return Napi::Number::New(info.Env(),
                           Result(mount(OrNull(source), target.c_str(), OrNull(type), flags, OrNull(data))));
}

Napi::Value Umount2(const Napi::CallbackInfo& info) {
  const std::string target = info[0].As<Napi::String>();
  if (HoldsNul(target)) return Napi::Number::New(info.Env(), -EINVAL);
  return Napi::Number::New(info.Env(), Result(umount2(target.c_str(), info[1].As<Napi::Number>().Int32Value())));
}

Napi::Value OpenTreeClone(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>();
  if (HoldsNul(path)) return Napi::Number::New(info.Env(), -EINVAL);
  const unsigned recursive = info[1].As<Napi::Boolean>().Value() ? AT_RECURSIVE : 0;
  const long fd = syscall(SYS_open_tree, AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive);
  return Napi::Number::New(info.Env(), Result(fd));
}

int SetAttributes(int fd, const MountAttributes& attributes, bool recursive) {
  const int flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
  return fd < 0 ? -EBADF : Result(syscall(SYS_mount_setattr, fd, "", flags, &attributes, sizeof attributes));
}

int MakePrivate(Thread& t) { return SetAttributes(t.Int(1), {0, 0, MS_PRIVATE, 0}, t.Int(2) != 0); }

int MountSetAttr(Thread& t) {
  return SetAttributes(t.Int(1), {t.Unsigned(2), t.Unsigned(3), 0, 0}, t.Int(4) != 0);
}

int FanotifyInit(Thread& t) { return Result(syscall(SYS_fanotify_init, t.Unsigned(1), t.Unsigned(2))); }

int FanotifyMark(Thread& t) {
  // Without a path it is the descriptor's own file that is marked.
  return Result(syscall(SYS_fanotify_mark, t.Int(1), t.Unsigned(2), uint64_t{t.Unsigned(3)}, t.Int(4), nullptr));
}

int SocketPair(Thread& t) {
  int fds[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) return -errno;
  t.registers[Thread::kLow] = fds[0];
  t.registers[Thread::kHigh] = fds[1];
  return 0;
}

int ReceiveFd(Thread& t) {
  char byte;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (recvmsg(t.Int(1), &message, MSG_CMSG_CLOEXEC) < 0) return -errno;

  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return -ENOMSG;
  int fds[CMSG_SPACE(sizeof(int)) / sizeof(int)];
  const size_t bytes = header->cmsg_len - CMSG_LEN(0);
  if (bytes < sizeof(int) || bytes > sizeof fds) return -ENOMSG;
  memcpy(fds, CMSG_DATA(header), bytes);
  // Alignment leaves room for more than the one we expect.
  for (size_t i = 1; i < bytes / sizeof(int); i++) close(fds[i]);
  return fds[0];
}

constexpr Call kCalls[] = {
    {"makePrivate", Invoke<MakePrivate>},
    {"mountSetAttr", Invoke<MountSetAttr>},
    {"fanotifyInit", Invoke<FanotifyInit>},
    {"fanotifyMark", Invoke<FanotifyMark>},
    {"socketPair", Invoke<SocketPair>},
    {"receiveFd", Invoke<ReceiveFd>},
};

}  // namespace

void AddMountCalls(Exports& exports) {
  exports.Add(kCalls);
  exports.AddOrdinary("mount", Mount);
  exports.AddOrdinary("umount2", Umount2);
  exports.AddOrdinary("openTreeClone", OpenTreeClone);
}

}  // namespace efuse
