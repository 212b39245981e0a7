// SPDX-License-Identifier: MIT
// Calls in the name of someone else: credentials(7) of one thread, set for the length of one call.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace efuse {

class Thread;

// The thread's own credentials, as they are between calls.
struct Credentials {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;
  uint64_t effective = 0;
  uint64_t permitted = 0;
  uint64_t inheritable = 0;

  // Reads those of the calling thread.
  static Credentials Current();

  // Makes `capabilities` the calling thread's effective set. 0 or -errno.
  int SetEffective(uint64_t capabilities) const;
};

// While it lives, the thread accesses files as the registers say: as the caller given there, with
// his umask, and without CAP_FSETID if privileges are to be killed. When `error` isn't 0, nothing
// was changed.
//
// Raw system calls throughout: libc's functions would change every thread of the process.
class Acting {
 public:
  // Which registers count: the others hold what an earlier call left there.
  enum Honours : unsigned { kCaller = 1, kUmask = 2, kKillPriv = 4 };

  Acting(const Thread& thread, unsigned honours);
  ~Acting();
  Acting(const Acting&) = delete;
  Acting& operator=(const Acting&) = delete;

  // -errno, or 0.
  int error = 0;

 private:
  int Become(const Thread& thread, bool with_umask);
  int KillPrivileges();
  int SetEffective(uint64_t capabilities);
  void Restore();

  const Credentials& own_;
  bool groups_changed_ = false;
  bool gid_changed_ = false;
  bool uid_changed_ = false;
  bool umask_changed_ = false;
  bool effective_changed_ = false;
  uint32_t uid_;
  // The effective set in force.
  uint64_t effective_;
  mode_t umask_ = 0;
};

}  // namespace efuse
