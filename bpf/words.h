/* SPDX-License-Identifier: GPL-2.0-only */
/* Words in maps that several CPUs read and write at once. */
#ifndef EFUSE_WORDS_H
#define EFUSE_WORDS_H

/* One load or store. */
#define WORD(x) (*(volatile typeof(x) *)&(x))

/* Loads and stores before it come before those behind it. Atomics order everywhere; x86 needs the compiler's only. */
#ifdef __TARGET_ARCH_x86
#define ORDER(word) asm volatile("" ::: "memory")
#else
#define ORDER(word) __sync_fetch_and_add(&(word), 0)
#endif

#endif
