// SPDX-License-Identifier: MIT
// Files by descriptor and by name. Names are used where they lie in a request; most calls take an
// O_PATH descriptor, which is how a file system holds an inode without opening it.
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstddef>

#include "call.h"
#include "linux_numbers.h"

namespace efuse {
namespace {

// Every descriptor is close-on-exec, and opening a terminal must not make it the server's own.
constexpr int kOpenAlways = O_CLOEXEC | O_NOCTTY;

// The path by which an O_PATH descriptor's file is reached where the system call itself takes
// only other descriptors. Following this link leads to the file and no further, also when that
// is a symbolic link, and the process may always follow its own, whatever its fsuid.
class FdPath {
 public:
  explicit FdPath(int fd) { *std::to_chars(text_ + kPrefix, text_ + sizeof text_ - 1, fd).ptr = '\0'; }
  const char* c_str() const { return text_; }

 private:
  static constexpr size_t kPrefix = sizeof "/proc/self/fd/" - 1;
  char text_[kPrefix + 12] = "/proc/self/fd/";
};

// The result of a call through an FdPath: what isn't open has no link there.
int ResultByPath(int fd, long value) {
  if (value >= 0) return static_cast<int>(value);
  const int error = errno;
  return error == ENOENT && fcntl(fd, F_GETFD) < 0 ? -EBADF : -error;
}

// --- opening

int OpenAt(Thread& t) {
  const char* path = t.String(2);
  if (path == nullptr) return -EFAULT;
  const int flags = t.Int(4);
  // O_TMPFILE holds O_DIRECTORY's bit, so it has to be there whole.
  const bool creates = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
  const Acting acting(t, Acting::kCaller | Acting::kKillPriv | (creates ? Acting::kUmask : 0U));
  if (acting.error != 0) return acting.error;
  return Result(openat(t.Int(1), path, flags | kOpenAlways, t.Unsigned(5)));
}

int OpenAt2(Thread& t) {
  const char* path = t.String(2);
  if (path == nullptr) return -EFAULT;
  open_how how = {};
  how.flags = t.Unsigned(4) | kOpenAlways;
  how.mode = t.Unsigned(5);
  how.resolve = t.Unsigned(6);
  const Acting acting(t, Acting::kCaller | Acting::kUmask);
  if (acting.error != 0) return acting.error;
  return Result(syscall(SYS_openat2, t.Int(1), path, &how, sizeof how));
}

int Reopen(Thread& t) {
  const int fd = t.Int(1);
  // With O_NOFOLLOW the link itself would be opened; what O_CREAT would create is there already.
  const int flags = (t.Int(2) & ~(O_NOFOLLOW | O_CREAT | O_EXCL)) | kOpenAlways;
  const FdPath path(fd);
  const Acting acting(t, Acting::kCaller | Acting::kKillPriv);
  if (acting.error != 0) return acting.error;
  // A mode, as libc aborts the process when O_TMPFILE comes without.
  return ResultByPath(fd, open(path.c_str(), flags, 0));
}

int Close(Thread& t) { return Result(close(t.Int(1))); }

int Dup(Thread& t) { return Result(fcntl(t.Int(1), F_DUPFD_CLOEXEC, 0)); }

// --- attributes

constexpr int32_t kStatxSize = sizeof(struct statx);
// The part of it that basic statistics fill.
constexpr size_t kBasicStatx = offsetof(struct statx, stx_dev_minor) + sizeof(statx::stx_dev_minor);

int Statx(Thread& t) {
  const char* path = t.String(2);
  char* out = t.Bytes(6, kStatxSize);
  if (path == nullptr || out == nullptr) return -EFAULT;
  return Result(syscall(SYS_statx, t.Int(1), path, t.Int(4), t.Unsigned(5), out));
}

// What fstat(2) says, as statx(2) would say it. A getattr asks for no more, and this is a fifth cheaper.
int FStat(int fd, struct statx* out) {
  struct stat st;
  // Not libc's fstat, which makes another, dearer system call of it.
  const int done = Result(syscall(SYS_fstat, fd, &st));
  if (done < 0) return done;
  memset(out, 0, kBasicStatx);
  out->stx_mask = STATX_BASIC_STATS;
  out->stx_blksize = static_cast<uint32_t>(st.st_blksize);
  out->stx_nlink = static_cast<uint32_t>(st.st_nlink);
  out->stx_uid = st.st_uid;
  out->stx_gid = st.st_gid;
  out->stx_mode = static_cast<uint16_t>(st.st_mode);
  out->stx_ino = st.st_ino;
  out->stx_size = static_cast<uint64_t>(st.st_size);
  out->stx_blocks = static_cast<uint64_t>(st.st_blocks);
  out->stx_atime = {st.st_atim.tv_sec, static_cast<uint32_t>(st.st_atim.tv_nsec), {}};
  out->stx_mtime = {st.st_mtim.tv_sec, static_cast<uint32_t>(st.st_mtim.tv_nsec), {}};
  out->stx_ctime = {st.st_ctim.tv_sec, static_cast<uint32_t>(st.st_ctim.tv_nsec), {}};
  out->stx_rdev_major = major(st.st_rdev);
  out->stx_rdev_minor = minor(st.st_rdev);
  out->stx_dev_major = major(st.st_dev);
  out->stx_dev_minor = minor(st.st_dev);
  return 0;
}

int FStatx(Thread& t) {
  const int fd = t.Int(1);
  char* out = t.Bytes(4, kStatxSize);
  if (out == nullptr) return -EFAULT;
  if (fd < 0) return -EBADF;
  if (t.Int(2) == AT_STATX_SYNC_AS_STAT && t.Unsigned(3) == STATX_BASIC_STATS) {
    struct statx filled;
    const int done = FStat(fd, &filled);
    if (done == 0) memcpy(out, &filled, kBasicStatx);
    return done;
  }
  return Result(syscall(SYS_statx, fd, "", t.Int(2) | AT_EMPTY_PATH, t.Unsigned(3), out));
}

int FAccessAt2(Thread& t) {
  const char* path = t.String(2);
  if (path == nullptr) return -EFAULT;
  const Acting acting(t, Acting::kCaller);
  if (acting.error != 0) return acting.error;
  // Without AT_EACCESS the kernel would ask for the process's real uid.
  return Result(syscall(SYS_faccessat2, t.Int(1), path, t.Int(4), t.Int(5) | AT_EACCESS));
}

int FAccess(Thread& t) {
  const int fd = t.Int(1);
  if (fd < 0) return -EBADF;
  const Acting acting(t, Acting::kCaller);
  if (acting.error != 0) return acting.error;
  return Result(syscall(SYS_faccessat2, fd, "", t.Int(2), AT_EACCESS | AT_EMPTY_PATH));
}

// For kernels before 6.6. Some file systems there change a symbolic link's mode.
int ChangeModeByPath(int fd, mode_t mode) {
  struct stat status;
  if (fstat(fd, &status) < 0) return -errno;
  if (S_ISLNK(status.st_mode)) return -EOPNOTSUPP;
  return ResultByPath(fd, chmod(FdPath(fd).c_str(), mode));
}

int FChangeMode(Thread& t) {
  static std::atomic<bool> has_fchmodat2{true};
  const int fd = t.Int(1);
  if (fd < 0) return -EBADF;
  const Acting acting(t, Acting::kCaller);
  if (acting.error != 0) return acting.error;
  if (has_fchmodat2.load(std::memory_order_relaxed)) {
    const int changed = Result(syscall(SYS_fchmodat2, fd, "", t.Unsigned(2), AT_EMPTY_PATH));
    if (changed != -ENOSYS) return changed;
    has_fchmodat2.store(false, std::memory_order_relaxed);
  }
  return ChangeModeByPath(fd, t.Unsigned(2));
}

int FChangeOwner(Thread& t) {
  const int fd = t.Int(1);
  if (fd < 0) return -EBADF;
  const Acting acting(t, Acting::kCaller);
  if (acting.error != 0) return acting.error;
  return Result(fchownat(fd, "", t.Unsigned(2), t.Unsigned(3), AT_EMPTY_PATH));
}

int UTimens(Thread& t) {
  const int fd = t.Int(1);
  if (fd < 0) return -EBADF;
  const timespec times[2] = {{t.Wide(2), t.Int(4)}, {t.Wide(5), t.Int(7)}};
  const Acting acting(t, Acting::kCaller);
  if (acting.error != 0) return acting.error;
  return Result(utimensat(fd, "", times, AT_EMPTY_PATH));
}

int Truncate(Thread& t) {
  const int fd = t.Int(1);
  const FdPath path(fd);
  const Acting acting(t, Acting::kCaller | Acting::kKillPriv);
  if (acting.error != 0) return acting.error;
  return ResultByPath(fd, truncate(path.c_str(), t.Wide(2)));
}

int FTruncate(Thread& t) {
  const Acting acting(t, Acting::kKillPriv);
  if (acting.error != 0) return acting.error;
  return Result(ftruncate(t.Int(1), t.Wide(2)));
}

int FStatfs(Thread& t) {
  char* out = t.Bytes(2, sizeof(fuse_kstatfs));
  if (out == nullptr) return -EFAULT;
  struct statfs from;
  if (fstatfs(t.Int(1), &from) < 0) return -errno;
  fuse_kstatfs to = {};
  to.blocks = from.f_blocks;
  to.bfree = from.f_bfree;
  to.bavail = from.f_bavail;
  to.files = from.f_files;
  to.ffree = from.f_ffree;
  to.bsize = static_cast<uint32_t>(from.f_bsize);
  to.namelen = static_cast<uint32_t>(from.f_namelen);
  to.frsize = static_cast<uint32_t>(from.f_frsize);
  memcpy(out, &to, sizeof to);
  return 0;
}

// --- handles

constexpr int kHandleHeader = sizeof(file_handle);
constexpr unsigned kMaxHandle = 128;  // MAX_HANDLE_SZ

// struct file_handle with room for the longest handle.
struct HandleBuffer {
  unsigned bytes;
  int type;
  char data[kMaxHandle];
};
static_assert(offsetof(HandleBuffer, data) == kHandleHeader);

int WriteHandle(Thread& t, int dirfd, const char* path, int flags, char* out, int capacity) {
  if (capacity < kHandleHeader) return -EOVERFLOW;
  HandleBuffer handle;
  handle.bytes = std::min(static_cast<unsigned>(capacity - kHandleHeader), kMaxHandle);
  handle.type = 0;
  // The kernel writes 64 bits when asked for the unique id, 32 otherwise.
  uint64_t unique = 0;
  int id = 0;
  const bool wide = (flags & AT_HANDLE_MNT_ID_UNIQUE) != 0;
  void* mount_id = wide ? static_cast<void*>(&unique) : &id;
  const int made = Result(syscall(SYS_name_to_handle_at, dirfd, path, &handle, mount_id, flags));
  if (made < 0 && made != -EOVERFLOW) return made;
  const size_t used = made < 0 ? 0 : handle.bytes;
  memcpy(out, &handle, kHandleHeader + used);
  t.SetWide(wide ? unique : static_cast<uint32_t>(id));
  return made;
}

int NameToHandle(Thread& t) {
  const char* path = t.String(2);
  char* out = t.Bytes(5);
  if (path == nullptr || out == nullptr) return -EFAULT;
  return WriteHandle(t, t.Int(1), path, t.Int(4), out, t.Int(7));
}

int HandleOf(Thread& t) {
  const int fd = t.Int(1);
  char* out = t.Bytes(3);
  if (out == nullptr) return -EFAULT;
  if (fd < 0) return -EBADF;
  return WriteHandle(t, fd, "", t.Int(2) | AT_EMPTY_PATH, out, t.Int(5));
}

int OpenByHandle(Thread& t) {
  const char* header = t.Bytes(2, kHandleHeader);
  if (header == nullptr) return -EFAULT;
  // A copy: its length is checked, and shared memory might change afterwards.
  HandleBuffer handle;
  memcpy(&handle, header, kHandleHeader);
  if (handle.bytes > kMaxHandle) return -EINVAL;
  const char* whole = t.Bytes(2, kHandleHeader + static_cast<int>(handle.bytes));
  if (whole == nullptr) return -EFAULT;
  memcpy(handle.data, whole + kHandleHeader, handle.bytes);
  return Result(syscall(SYS_open_by_handle_at, t.Int(1), &handle, t.Int(4) | kOpenAlways));
}

// --- names

int MkdirAt(Thread& t) {
  const char* path = t.String(2);
  if (path == nullptr) return -EFAULT;
  const Acting acting(t, Acting::kCaller | Acting::kUmask);
  if (acting.error != 0) return acting.error;
  return Result(mkdirat(t.Int(1), path, t.Unsigned(4)));
}

// Raw: libc takes a 64-bit device number in another encoding.
int MknodAt(Thread& t) {
  const char* path = t.String(2);
  if (path == nullptr) return -EFAULT;
  const Acting acting(t, Acting::kCaller | Acting::kUmask);
  if (acting.error != 0) return acting.error;
  return Result(syscall(SYS_mknodat, t.Int(1), path, t.Unsigned(4), t.Unsigned(5)));
}

int SymlinkAt(Thread& t) {
  const char* target = t.String(1);
  const char* path = t.String(4);
  if (target == nullptr || path == nullptr) return -EFAULT;
  const Acting acting(t, Acting::kCaller);
  if (acting.error != 0) return acting.error;
  return Result(symlinkat(target, t.Int(3), path));
}

int LinkAt(Thread& t) {
  const char* old_path = t.String(2);
  const char* new_path = t.String(5);
  if (old_path == nullptr || new_path == nullptr) return -EFAULT;
  const Acting acting(t, Acting::kCaller);
  if (acting.error != 0) return acting.error;
  return Result(linkat(t.Int(1), old_path, t.Int(4), new_path, t.Int(7)));
}

int LinkFd(Thread& t) {
  const int fd = t.Int(1);
  const int new_dirfd = t.Int(2);
  const char* new_path = t.String(3);
  if (new_path == nullptr) return -EFAULT;
  if (fd < 0) return -EBADF;
  const FdPath path(fd);
  const Acting acting(t, Acting::kCaller);
  if (acting.error != 0) return acting.error;
  const int linked = Result(linkat(fd, "", new_dirfd, new_path, AT_EMPTY_PATH));
  // What the kernel says to those without CAP_DAC_READ_SEARCH.
  if (linked != -ENOENT) return linked;
  return ResultByPath(fd, linkat(AT_FDCWD, path.c_str(), new_dirfd, new_path, AT_SYMLINK_FOLLOW));
}

int RenameAt2(Thread& t) {
  const char* old_path = t.String(2);
  const char* new_path = t.String(5);
  if (old_path == nullptr || new_path == nullptr) return -EFAULT;
  const Acting acting(t, Acting::kCaller);
  if (acting.error != 0) return acting.error;
  return Result(syscall(SYS_renameat2, t.Int(1), old_path, t.Int(4), new_path, t.Unsigned(7)));
}

int UnlinkAt(Thread& t) {
  const char* path = t.String(2);
  if (path == nullptr) return -EFAULT;
  const Acting acting(t, Acting::kCaller);
  if (acting.error != 0) return acting.error;
  return Result(unlinkat(t.Int(1), path, t.Int(4)));
}

int ReadlinkAt(Thread& t) {
  const char* path = t.String(2);
  char* out = t.Bytes(4);
  if (path == nullptr || out == nullptr) return -EFAULT;
  return Result(readlinkat(t.Int(1), path, out, static_cast<size_t>(t.Int(6))));
}

int ReadlinkFd(Thread& t) {
  const int fd = t.Int(1);
  char* out = t.Bytes(2);
  if (out == nullptr) return -EFAULT;
  if (fd < 0) return -EBADF;
  return Result(readlinkat(fd, "", out, static_cast<size_t>(t.Int(4))));
}

// --- data

int PRead(Thread& t) {
  char* buffer = t.Bytes(2);
  if (buffer == nullptr) return -EFAULT;
  return Result(pread(t.Int(1), buffer, static_cast<size_t>(t.Int(4)), t.Wide(5)));
}

int PWrite(Thread& t) {
  const char* buffer = t.Bytes(2);
  if (buffer == nullptr) return -EFAULT;
  const Acting acting(t, Acting::kCaller | Acting::kKillPriv);
  if (acting.error != 0) return acting.error;
  return Result(pwrite(t.Int(1), buffer, static_cast<size_t>(t.Int(4)), t.Wide(5)));
}

int LSeek(Thread& t) {
  const off_t position = lseek(t.Int(1), t.Wide(2), t.Int(4));
  if (position < 0) return -errno;
  t.SetWide(static_cast<uint64_t>(position));
  return 0;
}

int FAllocate(Thread& t) {
  const Acting acting(t, Acting::kKillPriv);
  if (acting.error != 0) return acting.error;
  return Result(fallocate(t.Int(1), t.Int(2), t.Wide(3), t.Wide(5)));
}

int CopyFileRange(Thread& t) {
  off64_t offset_in = t.Wide(2);
  off64_t offset_out = t.Wide(5);
  const ssize_t copied =
      copy_file_range(t.Int(1), &offset_in, t.Int(4), &offset_out, static_cast<size_t>(t.Wide(7)), 0);
  if (copied < 0) return -errno;
  t.SetWide(static_cast<uint64_t>(copied));
  return 0;
}

int GetDents64(Thread& t) {
  char* buffer = t.Bytes(2);
  if (buffer == nullptr) return -EFAULT;
  return Result(syscall(SYS_getdents64, t.Int(1), buffer, t.Int(4)));
}

int FSync(Thread& t) { return Result(fsync(t.Int(1))); }

int FDataSync(Thread& t) { return Result(fdatasync(t.Int(1))); }

int SyncFs(Thread& t) { return Result(syncfs(t.Int(1))); }

// --- extended attributes
//
// The f* calls refuse O_PATH descriptors with EBADF (getxattrat of Linux 6.13 does too, whatever
// its AT_EMPTY_PATH): those go by their path.

int GetXattr(Thread& t) {
  const int fd = t.Int(1);
  const char* name = t.String(2);
  char* value = t.Bytes(4);
  if (name == nullptr || value == nullptr) return -EFAULT;
  const size_t capacity = static_cast<size_t>(t.Int(6));
  const int size = Result(fgetxattr(fd, name, value, capacity));
  if (size != -EBADF) return size;
  return ResultByPath(fd, getxattr(FdPath(fd).c_str(), name, value, capacity));
}

int ListXattr(Thread& t) {
  const int fd = t.Int(1);
  char* list = t.Bytes(2);
  if (list == nullptr) return -EFAULT;
  const size_t capacity = static_cast<size_t>(t.Int(4));
  const int size = Result(flistxattr(fd, list, capacity));
  if (size != -EBADF) return size;
  return ResultByPath(fd, listxattr(FdPath(fd).c_str(), list, capacity));
}

int SetXattr(Thread& t) {
  const int fd = t.Int(1);
  const char* name = t.String(2);
  const char* value = t.Bytes(4);
  if (name == nullptr || value == nullptr) return -EFAULT;
  const size_t size = static_cast<size_t>(t.Int(6));
  const Acting acting(t, Acting::kCaller);
  if (acting.error != 0) return acting.error;
  const int set = Result(fsetxattr(fd, name, value, size, t.Int(7)));
  if (set != -EBADF) return set;
  return ResultByPath(fd, setxattr(FdPath(fd).c_str(), name, value, size, t.Int(7)));
}

int RemoveXattr(Thread& t) {
  const int fd = t.Int(1);
  const char* name = t.String(2);
  if (name == nullptr) return -EFAULT;
  const Acting acting(t, Acting::kCaller);
  if (acting.error != 0) return acting.error;
  const int removed = Result(fremovexattr(fd, name));
  if (removed != -EBADF) return removed;
  return ResultByPath(fd, removexattr(FdPath(fd).c_str(), name));
}

// --- locks

int FLock(Thread& t) { return Result(flock(t.Int(1), t.Int(2))); }

// FUSE's ranges end inclusively, at the greatest offset for "to the end of the file"; fcntl's have
// a length, 0 for that.
int FcntlLock(Thread& t) {
  const int command = t.Int(2);
  char* bytes = t.Bytes(3, sizeof(fuse_file_lock));
  if (bytes == nullptr) return -EFAULT;
  if (command != F_OFD_GETLK && command != F_OFD_SETLK && command != F_OFD_SETLKW) return -EINVAL;

  fuse_file_lock range;
  memcpy(&range, bytes, sizeof range);
  if (range.start > INT64_MAX || range.end > INT64_MAX || range.end < range.start) return -EINVAL;
  struct flock lock = {};
  lock.l_type = static_cast<short>(range.type);
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(range.start);
  lock.l_len = range.end == INT64_MAX ? 0 : static_cast<off_t>(range.end - range.start + 1);
  if (fcntl(t.Int(1), command, &lock) < 0) return -errno;

  if (command == F_OFD_GETLK) {
    range.type = static_cast<uint32_t>(lock.l_type);
    if (lock.l_type != F_UNLCK) {
      range.start = static_cast<uint64_t>(lock.l_start);
      range.end = lock.l_len == 0 ? INT64_MAX : static_cast<uint64_t>(lock.l_start + lock.l_len - 1);
      range.pid = static_cast<uint32_t>(lock.l_pid);
    }
    memcpy(bytes, &range, sizeof range);
  }
  return 0;
}

constexpr Call kCalls[] = {
    {"openat", Invoke<OpenAt>},
    {"openat2", Invoke<OpenAt2>},
    {"reopen", Invoke<Reopen>},
    {"close", Invoke<Close>},
    {"dup", Invoke<Dup>},

    {"statx", Invoke<Statx>},
    {"fstatx", Invoke<FStatx>},
    {"faccessat2", Invoke<FAccessAt2>},
    {"faccess", Invoke<FAccess>},
    {"fchmod", Invoke<FChangeMode>},
    {"fchown", Invoke<FChangeOwner>},
    {"utimens", Invoke<UTimens>},
    {"truncate", Invoke<Truncate>},
    {"ftruncate", Invoke<FTruncate>},
    {"fstatfs", Invoke<FStatfs>},

    {"nameToHandle", Invoke<NameToHandle>},
    {"handleOf", Invoke<HandleOf>},
    {"openByHandle", Invoke<OpenByHandle>},

    {"mkdirat", Invoke<MkdirAt>},
    {"mknodat", Invoke<MknodAt>},
    {"symlinkat", Invoke<SymlinkAt>},
    {"linkat", Invoke<LinkAt>},
    {"linkFd", Invoke<LinkFd>},
    {"renameat2", Invoke<RenameAt2>},
    {"unlinkat", Invoke<UnlinkAt>},
    {"readlinkat", Invoke<ReadlinkAt>},
    {"readlinkFd", Invoke<ReadlinkFd>},

    {"pread", Invoke<PRead>},
    {"pwrite", Invoke<PWrite>},
    {"lseek", Invoke<LSeek>},
    {"fallocate", Invoke<FAllocate>},
    {"copyFileRange", Invoke<CopyFileRange>},
    {"getdents64", Invoke<GetDents64>},
    {"fsync", Invoke<FSync>},
    {"fdatasync", Invoke<FDataSync>},
    {"syncfs", Invoke<SyncFs>},

    {"getxattr", Invoke<GetXattr>},
    {"listxattr", Invoke<ListXattr>},
    {"setxattr", Invoke<SetXattr>},
    {"removexattr", Invoke<RemoveXattr>},

    {"flock", Invoke<FLock>},
    {"fcntlLock", Invoke<FcntlLock>},
};

}  // namespace

void AddFileCalls(Exports& exports) { exports.Add(kCalls); }

}  // namespace efuse
