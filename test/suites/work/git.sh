#!/bin/bash
# SPDX-License-Identifier: MIT
# A git repository copied in and worked on there.
source "$(dirname "$0")/common.sh"

export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=$WORK/gitconfig
git config --global user.name Suite
git config --global user.email suite@example.invalid
git config --global init.defaultBranch main
git config --global advice.detachedHead false
git config --global gc.auto 0

step 'make a repository outside'
node "$package/dist/test/suites/work/make-tree.js" "$WORK/repository/files" "$(share_of 1000 10000)"
cp -a "$package/test/suites" "$WORK/repository/sources"
cd "$WORK/repository"
git init -q
git add -A && git commit -qm 'First'
git checkout -q -b branch
for i in 1 2 3; do
  find files -type f -name '*[02468].*' | sort -z | head -$((i * 20)) | while IFS= read -r path; do
    [[ -w $path ]] && echo "change $i" >>"$path"
  done || true
  echo "$i" >"new.$i"
  git add -A && git commit -qm "Change $i"
done
git checkout -q main

step 'cp -a, status, fsck'
cp -a "$WORK/repository" "$directory/repository"
cd "$directory/repository"
clean() { local changes; changes=$(git status --porcelain); [[ -z $changes ]] || { echo "$changes" | head; exit 1; }; }
clean
git fsck --full --strict
step 'branches, merge, commit'
git checkout -q branch
clean
git checkout -q main
git merge -q --no-ff -m 'Merge' branch
clean
mkdir more && for i in $(seq 200); do echo "$i" >"more/$i"; done
git add more && git commit -qm 'More'
git rm -qr more && git commit -qm 'Less'
[[ ! -e more ]]
git stash list >/dev/null
step 'gc, repack, clone, worktree, bisectable history'
git gc -q --aggressive --prune=now
git fsck --full --strict
git clone -q --no-local . "$directory/clone"
git -C "$directory/clone" fsck --full
[[ $(git -C "$directory/clone" rev-parse HEAD) == "$(git rev-parse HEAD)" ]]
git worktree add -q "$directory/worktree" branch
[[ -z $(git -C "$directory/worktree" status --porcelain) ]]
git worktree remove "$directory/worktree"
git log --stat --oneline >/dev/null
clean
