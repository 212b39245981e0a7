// SPDX-License-Identifier: MIT
// The calling thread and its process: scheduling, signals, capabilities, limits.
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "call.h"
#include "linux_numbers.h"

namespace efuse {
namespace {

// Room for 8,192 CPUs, the most that any kernel is built for; libc's cpu_set_t holds 1,024.
struct CpuMask {
  static constexpr size_t kBits = sizeof(unsigned long) * CHAR_BIT;
  unsigned long words[8192 / kBits] = {};

  static constexpr int kCpus = sizeof words * CHAR_BIT;
  unsigned long& Word(int cpu) { return words[static_cast<size_t>(cpu) / kBits]; }
  static unsigned long Bit(int cpu) { return 1UL << (static_cast<size_t>(cpu) % kBits); }
};

// Raw calls, so that the thread id is the kernel's with every libc.
int ThreadId(Thread&) { return static_cast<int>(syscall(SYS_gettid)); }

// Installs a handler that does nothing, without SA_RESTART so that system calls return EINTR, for
// a real-time signal that nobody uses: the highest free one, as libraries claim them from below.
// Returns 0 when there is none.
int InstallWakeSignal() {
  for (int number = SIGRTMAX; number >= SIGRTMIN; number--) {
    struct sigaction current = {};
    if (sigaction(number, nullptr, &current) != 0 || current.sa_handler != SIG_DFL) continue;
    struct sigaction wake = {};
    wake.sa_handler = [](int) {};
    if (sigaction(number, &wake, nullptr) == 0) return number;
  }
  return 0;
}

int SignalThread(Thread& t) {
  static const int wake_signal = InstallWakeSignal();
  if (wake_signal == 0) return -EAGAIN;
  return Result(syscall(SYS_tgkill, getpid(), t.Int(1), wake_signal));
}

int SetAffinity(Thread& t) {
  const int cpu = t.Int(1);
  if (cpu < 0 || cpu >= CpuMask::kCpus) return -EINVAL;
  CpuMask mask;
  mask.Word(cpu) = CpuMask::Bit(cpu);
  return Result(syscall(SYS_sched_setaffinity, 0, sizeof mask.words, mask.words));
}

int GetCpu(Thread&) { return Result(sched_getcpu()); }

Napi::Value CpuList(const Napi::CallbackInfo& info) {
  CpuMask mask;
  if (syscall(SYS_sched_getaffinity, 0, sizeof mask.words, mask.words) < 0)
    return Napi::Number::New(info.Env(), -errno);
  Napi::Array cpus = Napi::Array::New(info.Env());
  for (int cpu = 0; cpu < CpuMask::kCpus; cpu++)
    if ((mask.Word(cpu) & CpuMask::Bit(cpu)) != 0) cpus.Set(cpus.Length(), cpu);
  return cpus;
}

int UnshareFs(Thread&) { return Result(unshare(CLONE_FS)); }

int SleepMicroseconds(Thread& t) {
  const int microseconds = t.Int(1);
  if (microseconds < 0) return -EINVAL;
  const timespec duration{microseconds / 1000000, microseconds % 1000000 * 1000L};
  return -clock_nanosleep(CLOCK_MONOTONIC, 0, &duration, nullptr);
}

int DropCapability(Thread& t) {
  const int capability = t.Int(1);
  if (capability < 0 || capability > CAP_LAST_CAP) return -EINVAL;
  const uint64_t effective = t.own.effective & ~(uint64_t{1} << capability);
  const int failure = t.own.SetEffective(effective);
  if (failure == 0) t.own.effective = effective;
  return failure;
}

int EffectiveCapabilities(Thread& t) {
  t.SetWide(Credentials::Current().effective);
  return 0;
}

int Clamped(rlim_t limit) { return static_cast<int>(std::min<rlim_t>(limit, INT_MAX)); }

int FileLimit(Thread&) {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
  return Clamped(limit.rlim_cur);
}

int RaiseFileLimit(Thread& t) {
  if (t.Int(1) < 0) return -EINVAL;
  const rlim_t wanted = t.Unsigned(1);
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return -errno;
  if (limit.rlim_cur >= wanted) return Clamped(limit.rlim_cur);
  const rlimit raised{wanted, std::max(wanted, limit.rlim_max)};
  if (setrlimit(RLIMIT_NOFILE, &raised) == 0) return Clamped(wanted);
  const rlimit reachable{std::min(wanted, limit.rlim_max), limit.rlim_max};
  if (setrlimit(RLIMIT_NOFILE, &reachable) < 0) return -errno;
  return Clamped(reachable.rlim_cur);
}

int CloseOnExecFrom(Thread& t) {
  return Result(syscall(SYS_close_range, t.Unsigned(1), UINT_MAX, CLOSE_RANGE_CLOEXEC));
}

constexpr Call kCalls[] = {
    {"threadId", Invoke<ThreadId>},
    {"signalThread", Invoke<SignalThread>},
    {"setAffinity", Invoke<SetAffinity>},
    {"getCpu", Invoke<GetCpu>},
    {"unshareFs", Invoke<UnshareFs>},
    {"sleepMicroseconds", Invoke<SleepMicroseconds>},
    {"dropCapability", Invoke<DropCapability>},
    {"effectiveCapabilities", Invoke<EffectiveCapabilities>},
    {"raiseFileLimit", Invoke<RaiseFileLimit>},
    {"fileLimit", Invoke<FileLimit>},
    {"closeOnExecFrom", Invoke<CloseOnExecFrom>},
};

}  // namespace

void AddThreadCalls(Exports& exports) {
  exports.Add(kCalls);
  exports.AddOrdinary("cpuList", CpuList);
}

}  // namespace efuse
