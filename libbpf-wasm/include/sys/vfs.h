// SPDX-License-Identifier: MIT
#pragma once

struct statfs {
  long f_type;
};

int statfs(const char *path, struct statfs *status);
