// SPDX-License-Identifier: GPL-2.0-only
/*
 * The monitor for mounts of efuse.ko, whose tracepoints and structs have names of their own: see kernel/prepare.sh.
 * It counts into the maps of the other one.
 */
#define MONITOR_TRACEPOINT(event) "tp_btf/efuse_" #event
#define fuse_arg efuse_fs_fuse_arg
#define fuse_args efuse_fs_fuse_args
#define fuse_chan efuse_fs_fuse_chan
#define fuse_conn efuse_fs_fuse_conn
#define fuse_forget_link efuse_fs_fuse_forget_link
#define fuse_iqueue efuse_fs_fuse_iqueue
#define fuse_mount efuse_fs_fuse_mount
#define fuse_req efuse_fs_fuse_req
#define fuse_req_flag efuse_fs_fuse_req_flag
#define fuse_req___chan efuse_fs_fuse_req___chan
#include "monitor.bpf.c"
