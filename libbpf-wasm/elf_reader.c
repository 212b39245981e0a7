// SPDX-License-Identifier: MIT
// libelf's interface over a 64-bit little-endian file that lies in memory. Nothing in the file is believed:
// every section that is given out lies wholly inside it, and strings end inside their section.
#include <gelf.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct Elf_Scn {
  Elf *elf;
  size_t index;
  Elf64_Shdr header;
  Elf_Data data;
};

struct Elf {
  char *image;
  size_t size;
  bool owned;
  Elf64_Ehdr header;
  size_t count, names;
  Elf_Scn *sections;
};

static const char *error = "no error";

static void *fail(const char *what) {
  error = what;
  return NULL;
}

const char *elf_errmsg(int unused) {
  (void)unused;
  return error;
}

unsigned elf_version(unsigned version) { return version == EV_CURRENT ? EV_CURRENT : EV_NONE; }

static bool inside(const Elf *elf, uint64_t offset, uint64_t length) {
  return offset <= elf->size && length <= elf->size - offset;
}

static bool read_sections(Elf *elf) {
  const Elf64_Ehdr *header = &elf->header;
  elf->count = header->e_shnum;
  elf->names = header->e_shstrndx;
  if (header->e_shoff == 0) return true;
  if (header->e_shentsize != sizeof(Elf64_Shdr)) return fail("section headers of another size");
  if (!inside(elf, header->e_shoff, sizeof(Elf64_Shdr))) return fail("section headers outside the file");
  const char *table = elf->image + header->e_shoff;
  // Counts that do not fit the file's header are in the first section's.
  Elf64_Shdr first;
  memcpy(&first, table, sizeof first);
  if (elf->count == 0) {
    if (first.sh_size > UINT32_MAX) return fail("more sections than the file can hold");
    elf->count = first.sh_size;
  }
  if (elf->names == SHN_XINDEX) elf->names = first.sh_link;
  if ((elf->size - header->e_shoff) / sizeof(Elf64_Shdr) < elf->count) return fail("section headers outside the file");

  elf->sections = calloc(elf->count ? elf->count : 1, sizeof *elf->sections);
  if (!elf->sections) return fail("out of memory");
  for (size_t i = 0; i < elf->count; i++) {
    Elf_Scn *section = &elf->sections[i];
    section->elf = elf;
    section->index = i;
    memcpy(&section->header, table + i * sizeof(Elf64_Shdr), sizeof(Elf64_Shdr));
    const Elf64_Shdr *h = &section->header;
    section->data.d_version = EV_CURRENT;
    section->data.d_align = h->sh_addralign;
    if (h->sh_type == SHT_NULL) continue;
    if (h->sh_size > UINT32_MAX) return fail("a section larger than memory");
    section->data.d_size = h->sh_size;
    if (h->sh_type == SHT_NOBITS) continue;
    if (!inside(elf, h->sh_offset, h->sh_size)) return fail("a section outside the file");
    section->data.d_buf = elf->image + h->sh_offset;
  }
  return true;
}

Elf *elf_memory(char *image, size_t size) {
  if (size < sizeof(Elf64_Ehdr)) return fail("shorter than an ELF header");
  if (memcmp(image, ELFMAG, SELFMAG) != 0) return fail("not an ELF file");
  if (image[EI_CLASS] != ELFCLASS64 || image[EI_DATA] != ELFDATA2LSB) return fail("not 64-bit little-endian ELF");
  Elf *elf = calloc(1, sizeof *elf);
  if (!elf) return fail("out of memory");
  elf->image = image;
  elf->size = size;
  memcpy(&elf->header, image, sizeof elf->header);
  if (!read_sections(elf)) {
    elf_end(elf);
    return NULL;
  }
  return elf;
}

// A program or library that uprobes are for: all of it is read.
Elf *elf_begin(int fd, Elf_Cmd command, Elf *reference) {
  (void)command, (void)reference;
  struct stat status;
  if (fstat(fd, &status) != 0 || status.st_size > INT32_MAX) return fail("the file can't be read");
  const size_t size = status.st_size;
  char *image = malloc(size ? size : 1);
  if (!image) return fail("out of memory");
  for (size_t done = 0; done < size;) {
    const ssize_t got = read(fd, image + done, size - done);
    if (got <= 0) {
      free(image);
      return fail("the file can't be read");
    }
    done += got;
  }
  Elf *elf = elf_memory(image, size);
  if (elf)
    elf->owned = true;
  else
    free(image);
  return elf;
}

int elf_end(Elf *elf) {
  if (!elf) return 0;
  if (elf->owned) free(elf->image);
  free(elf->sections);
  free(elf);
  return 0;
}

Elf_Kind elf_kind(Elf *elf) { return elf ? ELF_K_ELF : ELF_K_NONE; }

Elf_Scn *elf_getscn(Elf *elf, size_t index) {
  if (!elf || index >= elf->count) return fail("no such section");
  return &elf->sections[index];
}

Elf_Scn *elf_nextscn(Elf *elf, Elf_Scn *section) {
  const size_t next = section ? section->index + 1 : 1;
  return elf && next < elf->count ? &elf->sections[next] : NULL;
}

size_t elf_ndxscn(Elf_Scn *section) { return section ? section->index : SHN_UNDEF; }

Elf_Data *elf_getdata(Elf_Scn *section, Elf_Data *previous) { return section && !previous ? &section->data : NULL; }

Elf_Data *elf_rawdata(Elf_Scn *section, Elf_Data *previous) { return elf_getdata(section, previous); }

char *elf_strptr(Elf *elf, size_t index, size_t offset) {
  const Elf_Scn *section = elf_getscn(elf, index);
  if (!section || section->header.sh_type != SHT_STRTAB || !section->data.d_buf) return fail("no string table");
  const size_t size = section->data.d_size;
  char *text = (char *)section->data.d_buf + offset;
  if (offset >= size || !memchr(text, 0, size - offset)) return fail("a string outside its table");
  return text;
}

int elf_getshdrnum(Elf *elf, size_t *count) {
  *count = elf->count;
  return 0;
}

int elf_getshdrstrndx(Elf *elf, size_t *index) {
  *index = elf->names;
  return 0;
}

Elf64_Shdr *elf64_getshdr(Elf_Scn *section) { return section ? &section->header : NULL; }

Elf64_Ehdr *elf64_getehdr(Elf *elf) { return elf ? &elf->header : NULL; }

int gelf_getclass(Elf *elf) { return elf ? ELFCLASS64 : ELFCLASSNONE; }

GElf_Ehdr *gelf_getehdr(Elf *elf, GElf_Ehdr *header) {
  if (!elf) return NULL;
  *header = elf->header;
  return header;
}

GElf_Shdr *gelf_getshdr(Elf_Scn *section, GElf_Shdr *header) {
  if (!section) return NULL;
  *header = section->header;
  return header;
}

// Entry `index` of a table of fixed-size entries.
static void *entry(const Elf_Data *data, int index, void *into, size_t size) {
  if (!data || !data->d_buf || index < 0 || (size_t)index >= data->d_size / size) return fail("no such entry");
  return memcpy(into, (const char *)data->d_buf + (size_t)index * size, size);
}

GElf_Sym *gelf_getsym(Elf_Data *data, int index, GElf_Sym *symbol) {
  return entry(data, index, symbol, sizeof *symbol);
}

GElf_Versym *gelf_getversym(Elf_Data *data, int index, GElf_Versym *version) {
  return entry(data, index, version, sizeof *version);
}

// An entry at any offset.
static void *record(const Elf_Data *data, int offset, void *into, size_t size) {
  if (!data || !data->d_buf || offset < 0 || data->d_size < size || (size_t)offset > data->d_size - size)
    return fail("no such entry");
  return memcpy(into, (const char *)data->d_buf + offset, size);
}

GElf_Verdef *gelf_getverdef(Elf_Data *data, int offset, GElf_Verdef *definition) {
  return record(data, offset, definition, sizeof *definition);
}

GElf_Verdaux *gelf_getverdaux(Elf_Data *data, int offset, GElf_Verdaux *auxiliary) {
  return record(data, offset, auxiliary, sizeof *auxiliary);
}

int elf_getphdrnum(Elf *elf, size_t *count) {
  *count = elf->header.e_phnum;
  return 0;
}

GElf_Phdr *gelf_getphdr(Elf *elf, int index, GElf_Phdr *header) {
  const Elf64_Ehdr *h = &elf->header;
  if (index < 0 || index >= h->e_phnum || h->e_phentsize != sizeof *header) return fail("no such program header");
  const uint64_t skip = (uint64_t)index * sizeof *header;
  if (!inside(elf, h->e_phoff, skip + sizeof *header)) return fail("program headers outside the file");
  return memcpy(header, elf->image + h->e_phoff + skip, sizeof *header);
}

size_t gelf_getnote(Elf_Data *data, size_t offset, GElf_Nhdr *note, size_t *name, size_t *description) {
  if (offset > INT32_MAX || !record(data, (int)offset, note, sizeof *note)) return 0;
  const uint64_t names = offset + sizeof *note;
  const uint64_t descriptions = names + (((uint64_t)note->n_namesz + 3) & ~3ull);
  const uint64_t end = descriptions + (((uint64_t)note->n_descsz + 3) & ~3ull);
  if (end > data->d_size) return 0;
  *name = names;
  *description = descriptions;
  return end;
}
