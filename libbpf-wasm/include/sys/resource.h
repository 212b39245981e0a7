// SPDX-License-Identifier: MIT
// libbpf raises RLIMIT_MEMLOCK for kernels before 5.11, which count BPF's memory against it.
#pragma once

typedef unsigned long long rlim_t;
struct rlimit {
  rlim_t rlim_cur, rlim_max;
};

#define RLIM_INFINITY (~0ULL)
#define RLIMIT_MEMLOCK 8

int getrlimit(int resource, struct rlimit *limit);
int setrlimit(int resource, const struct rlimit *limit);
