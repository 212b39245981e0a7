#!/bin/bash
# SPDX-License-Identifier: MIT
# stress-ng's file-system stressors, each verifying what it does. On ext4 all that are left here pass.
source "$(dirname "$0")/common.sh"

# Left out since they never touch the directory under test: procfs, binderfs, bind-mount (mounts / elsewhere),
# dup, eventfd and ioprio; and verity, which asks for a feature of ext4 that is off by default.
exclude=procfs,binderfs,bind-mount,verity,dup,eventfd,ioprio
if [[ $(id -u) != 0 ]]; then exclude+=,fanotify,handle; fi
options=(--class filesystem --exclude "$exclude" --temp-path "$directory" --verify --oomable)
if [[ $share == full ]]; then
  step 'each in turn, five minutes in all'
  stress-ng "${options[@]}" --sequential 2 --timeout 7s
else
  # What takes longest to clean up after itself is left to the full share.
  options[3]+=,dirdeep,chdir,dentry,dirmany,copy-file,link,symlink,hdd,dir,filename,inotify,inode-flags
  step 'each in turn, a second each'
  stress-ng "${options[@]}" --sequential 1 --timeout 1s
fi
