// SPDX-License-Identifier: MIT
// Part of the C library's <elf.h>; the auxiliary vector is of no concern here.
