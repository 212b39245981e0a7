// SPDX-License-Identifier: MIT
#include "credentials.h"

#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "thread.h"

namespace efuse {
namespace {

constexpr uint64_t Bit(int capability) { return uint64_t{1} << capability; }

// What the kernel takes from the effective set when fsuid leaves 0, and gives back from the
// permitted set when it returns (CAP_FS_SET in the kernel's linux/capability.h).
constexpr uint64_t kFileSystemCapabilities = Bit(CAP_CHOWN) | Bit(CAP_DAC_OVERRIDE) | Bit(CAP_DAC_READ_SEARCH) |
                                             Bit(CAP_FOWNER) | Bit(CAP_FSETID) | Bit(CAP_LINUX_IMMUTABLE) |
                                             Bit(CAP_MKNOD) | Bit(CAP_MAC_OVERRIDE);

constexpr int kMaxGroups = 65536;

// The effective set in force after fsuid changed.
uint64_t EffectiveAfter(uint32_t from, uint32_t to, uint64_t effective, uint64_t permitted) {
  if (from == 0 && to != 0) return effective & ~kFileSystemCapabilities;
  if (from != 0 && to == 0) return effective | (permitted & kFileSystemCapabilities);
  return effective;
}

// setfsuid and setfsgid return the previous id, whether they succeed or not: asking with an id
// that can't be tells which id is in force.
bool SetFileSystemId(long number, uint32_t id) {
  syscall(number, id);
  return static_cast<uint32_t>(syscall(number, UINT32_MAX)) == id;
}

// A thread that can't go back to its own credentials must not serve another request.
void Require(bool restored) {
  if (restored) return;
  fputs("efuse: a thread's own credentials can't be restored\n", stderr);
  abort();
}

}  // namespace

Credentials Credentials::Current() {
  Credentials current;
  current.uid = static_cast<uint32_t>(syscall(SYS_setfsuid, UINT32_MAX));
  current.gid = static_cast<uint32_t>(syscall(SYS_setfsgid, UINT32_MAX));
  const long count = syscall(SYS_getgroups, 0, nullptr);
  if (count > 0) {
    current.groups.resize(static_cast<size_t>(count));
    syscall(SYS_getgroups, count, current.groups.data());
  }
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  syscall(SYS_capget, &header, data);
  current.effective = data[0].effective | uint64_t{data[1].effective} << 32;
  current.permitted = data[0].permitted | uint64_t{data[1].permitted} << 32;
  current.inheritable = data[0].inheritable | uint64_t{data[1].inheritable} << 32;
  return current;
}

int Credentials::SetEffective(uint64_t capabilities) const {
  const auto low = [](uint64_t set) { return static_cast<uint32_t>(set); };
  const auto high = [](uint64_t set) { return static_cast<uint32_t>(set >> 32); };
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
      {low(capabilities), low(permitted), low(inheritable)},
      {high(capabilities), high(permitted), high(inheritable)},
  };
  return Result(syscall(SYS_capset, &header, data));
}

Acting::Acting(const Thread& thread, unsigned honours)
    : own_(thread.own), uid_(thread.own.uid), effective_(thread.own.effective) {
  if ((honours & kCaller) != 0 && thread.Int(Thread::kAs) != 0) error = Become(thread, (honours & kUmask) != 0);
  if (error == 0 && (honours & kKillPriv) != 0 && thread.Int(Thread::kKillPriv) != 0) error = KillPrivileges();
  if (error != 0) Restore();
}

Acting::~Acting() {
  if (error == 0) Restore();
}

// Groups and gid first: with another fsuid the right to set them may be gone.
int Acting::Become(const Thread& thread, bool with_umask) {
  const int count = thread.Int(Thread::kGroupCount);
  if (count < 0 || count > kMaxGroups) return -EINVAL;
  const uint32_t gid = thread.Unsigned(Thread::kGid);
  const uint32_t uid = thread.Unsigned(Thread::kUid);

  // A caller with the thread's own ids and no groups is the server's own user: nothing to set.
  const bool same_ids = uid == own_.uid && gid == own_.gid;
  const size_t size = static_cast<size_t>(count);
  const bool same_groups =
      (same_ids && count == 0) ||
      (size == own_.groups.size() && std::equal(own_.groups.begin(), own_.groups.end(), thread.groups));
  if (!same_groups) {
    if (syscall(SYS_setgroups, count, thread.groups) < 0) return -errno;
    groups_changed_ = true;
  }
  if (gid != own_.gid) {
    if (!SetFileSystemId(SYS_setfsgid, gid)) return -EPERM;
    gid_changed_ = true;
  }
  if (uid != own_.uid) {
    if (!SetFileSystemId(SYS_setfsuid, uid)) return -EPERM;
    uid_changed_ = true;
    uid_ = uid;
    effective_ = EffectiveAfter(own_.uid, uid, own_.effective, own_.permitted);
    if (thread.Int(Thread::kAllowed) != 0) {
      if (const int failure = SetEffective(own_.effective & ~Bit(CAP_FSETID))) return failure;
    }
  }
  const int mask = thread.Int(Thread::kUmask);
  if (with_umask && mask >= 0) {
    umask_ = umask(static_cast<mode_t>(mask));
    umask_changed_ = true;
  }
  return 0;
}

int Acting::KillPrivileges() {
  if ((effective_ & Bit(CAP_FSETID)) == 0) return 0;
  return SetEffective(effective_ & ~Bit(CAP_FSETID));
}

int Acting::SetEffective(uint64_t capabilities) {
  const int failure = own_.SetEffective(capabilities);
  if (failure == 0) {
    effective_ = capabilities;
    effective_changed_ = true;
  }
  return failure;
}

// fsuid first: the right to set groups may depend on it.
void Acting::Restore() {
  if (umask_changed_) umask(umask_);
  if (uid_changed_) {
    Require(SetFileSystemId(SYS_setfsuid, own_.uid));
    // The way there and back may leave other capabilities than the thread had: one that it
    // dropped comes back, one that it holds without being root goes.
    const uint64_t back = EffectiveAfter(uid_, own_.uid, effective_, own_.permitted);
    effective_changed_ |= back != own_.effective;
  }
  if (effective_changed_) Require(own_.SetEffective(own_.effective) == 0);
  if (gid_changed_) Require(SetFileSystemId(SYS_setfsgid, own_.gid));
  if (groups_changed_) Require(syscall(SYS_setgroups, own_.groups.size(), own_.groups.data()) == 0);
}

}  // namespace efuse
