#!/bin/bash
# SPDX-License-Identifier: MIT
# SQLite with writers and readers at once, in WAL mode (shared memory over mmap) and with a rollback journal.
source "$(dirname "$0")/common.sh"

rounds=$(share_of 150 5000)
writers=4
for mode in wal delete; do
  database=$directory/$mode.db
  step "$mode: $writers writers of $rounds transactions, and readers"
  schema='create table t(writer, n, text); create index i on t(n);'
  [[ $(sqlite3 "$database" "pragma journal_mode=$mode; $schema") == "$mode" ]]
  pids=()
  for writer in $(seq "$writers"); do
    {
      echo '.timeout 120000'
      for n in $(seq "$rounds"); do
        echo "begin immediate; insert into t values ($writer, $n, hex(randomblob(200)));"
        echo "update t set text = hex(randomblob(20)) where n = $n - 10 and writer = $writer; commit;"
      done
    } | sqlite3 -bail "$database" & pids+=($!)
  done
  for reader in 1 2; do
    for _ in $(seq $((rounds / 10))); do
      echo '.timeout 120000'
      # The index and the table always tell the same.
      echo 'select case when (select count(*) from t not indexed) = (select count(n) from t) then 1 else 1/0 end;'
    done | sqlite3 -bail "$database" >"$WORK/reader.$reader" & pids+=($!)
  done
  for pid in "${pids[@]}"; do wait "$pid"; done
  ! grep -vq '^1$' "$WORK"/reader.*
  [[ $(sqlite3 "$database" 'select count(*) from t') == $((writers * rounds)) ]]
  [[ $(sqlite3 "$database" 'pragma integrity_check') == ok ]]
  step "$mode: killed in the middle of writing, and recovered"
  { for n in $(seq 100000); do echo "insert into t values (9, $n, hex(randomblob(200)));"; done; } | sqlite3 "$database" &
  victim=$!
  until [[ $(sqlite3 -cmd '.timeout 120000' "$database" 'select count(*) from t where writer = 9') -gt 5 ]]; do :; done
  kill -9 "$victim"
  wait "$victim" 2>/dev/null || true
  [[ $(sqlite3 -cmd '.timeout 120000' "$database" 'pragma integrity_check') == ok ]]
  sqlite3 "$database" 'vacuum'
  [[ $(sqlite3 "$database" 'pragma integrity_check') == ok ]]
done
