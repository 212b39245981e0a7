#!/bin/bash
# SPDX-License-Identifier: MIT
# A sample of the others, for machines that are too slow for all: SQLite, then a program that is compiled.
source "$(dirname "$0")/common.sh"

mkdir "$directory/sqlite" "$directory/build"
bash "$here/sqlite.sh" "$directory/sqlite" "$share"
bash "$here/build.sh" "$directory/build" "$share"
