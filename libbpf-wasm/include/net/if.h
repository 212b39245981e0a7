// SPDX-License-Identifier: MIT
#pragma once

unsigned if_nametoindex(const char *name);
