#!/bin/bash
# SPDX-License-Identifier: MIT
# Far more inodes in use than the server may open files: names looked up and held, renamed, changed and read.
source "$(dirname "$0")/common.sh"

count=$(share_of 3000 100000)
step "$count files"
node -e '
const { mkdirSync, writeFileSync } = require("node:fs")
for (let i = 0; i < +process.argv[2]; i++) {
  if (i % 100 === 0) mkdirSync(`${process.argv[1]}/d${i / 100}`)
  writeFileSync(`${process.argv[1]}/d${Math.floor(i / 100)}/f${i}`, String(i))
}' "$directory" "$count"
step 'all looked up, so that the kernel holds each'
[[ $(find "$directory" -type f -size -1k -o -type f -size 1k | wc -l) == "$count" ]]
step 'all read, changed and read again'
cat "$directory"/d*/f* | md5sum >"$WORK/first"
find "$directory" -type f -exec chmod 640 {} +
find "$directory" -type f -exec touch -d @1000000000 {} +
cat "$directory"/d*/f* | md5sum | cmp - "$WORK/first"
[[ $(find "$directory" -type f -perm 640 ! -newermt '2001-09-10' | wc -l) == "$count" ]]
step 'moved under held directories'
mv "$directory/d0" "$directory/moved"
[[ $(cat "$directory/moved/f7") == 7 ]]
step 'processes standing in many directories'
pids=()
for i in $(seq 25); do (cd "$directory/d$i" && exec sleep 600) & pids+=($!); done
for i in $(seq 25); do [[ $(readlink "/proc/${pids[i - 1]}/cwd") == */d$i || -d "/proc/${pids[i - 1]}" ]]; done
[[ $(cat "$directory/d25/f2500") == 2500 ]]
kill "${pids[@]}"
wait "${pids[@]}" 2>/dev/null || true
rm -rf "${directory:?}"/*
