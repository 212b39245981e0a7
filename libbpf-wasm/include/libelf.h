// SPDX-License-Identifier: MIT
// The part of libelf's interface that libbpf uses; elf_reader.c has the rest of it.
#pragma once

#include <elf.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct Elf Elf;
typedef struct Elf_Scn Elf_Scn;
typedef enum { ELF_C_NULL, ELF_C_READ, ELF_C_READ_MMAP } Elf_Cmd;
#define ELF_C_READ_MMAP ELF_C_READ_MMAP
typedef enum { ELF_K_NONE, ELF_K_ELF } Elf_Kind;
typedef enum { ELF_T_BYTE } Elf_Type;
typedef struct {
  void *d_buf;
  Elf_Type d_type;
  unsigned d_version;
  size_t d_size;
  int64_t d_off;
  size_t d_align;
} Elf_Data;

unsigned elf_version(unsigned version);
Elf *elf_memory(char *image, size_t size);
Elf *elf_begin(int fd, Elf_Cmd command, Elf *reference);
int elf_end(Elf *elf);
Elf_Kind elf_kind(Elf *elf);
const char *elf_errmsg(int error);
Elf_Scn *elf_getscn(Elf *elf, size_t index);
Elf_Scn *elf_nextscn(Elf *elf, Elf_Scn *section);
size_t elf_ndxscn(Elf_Scn *section);
Elf_Data *elf_getdata(Elf_Scn *section, Elf_Data *previous);
Elf_Data *elf_rawdata(Elf_Scn *section, Elf_Data *previous);
char *elf_strptr(Elf *elf, size_t section, size_t offset);
int elf_getshdrnum(Elf *elf, size_t *count);
int elf_getshdrstrndx(Elf *elf, size_t *index);
int elf_getphdrnum(Elf *elf, size_t *count);
Elf64_Shdr *elf64_getshdr(Elf_Scn *section);
Elf64_Ehdr *elf64_getehdr(Elf *elf);
