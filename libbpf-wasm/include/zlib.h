// SPDX-License-Identifier: MIT
// The three calls with which libbpf reads the kernel's configuration; the host decompresses.
#pragma once

#include <stdio.h>

typedef FILE *gzFile;

gzFile gzopen(const char *path, const char *mode);
char *gzgets(gzFile file, char *buffer, int length);
int gzclose(gzFile file);
