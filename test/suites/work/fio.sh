#!/bin/bash
# SPDX-License-Identifier: MIT
# fio writes, reads back and verifies every block, in each way of doing I/O. The jobs are in fio/.
source "$(dirname "$0")/common.sh"

export SIZE FILES RUNS
SIZE=$(share_of 4m 256m)
FILES=$(share_of 2 4)
RUNS=$(share_of 1 5)
for job in "$here"/fio/*.fio; do
  name=$(basename "$job" .fio)
  step "$name"
  mkdir "$directory/$name"
  output=$(fio --directory="$directory/$name" --output-format=normal "$job" 2>&1) || { echo "$output"; exit 1; }
  ! grep -E 'verify:|err=[ ]*[1-9]' <<<"$output"
  rm -rf "${directory:?}/$name"
done
