// SPDX-License-Identifier: MIT
// System calls that libbpf makes by number. These numbers are our own and go no further than system.c: the
// kernel's header would give wasm32 those of x32.
#pragma once

#define __NR_bpf 1
#define __NR_perf_event_open 2
#define __NR_dup3 3
#define __NR_memfd_create 4
