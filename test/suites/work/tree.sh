#!/bin/bash
# SPDX-License-Identifier: MIT
# A tree of files copied in, compared by every tool people use for that, packed, unpacked and removed.
source "$(dirname "$0")/common.sh"

original=$WORK/tree copy=$directory/tree
count=$(share_of 5000 100000)
step "make a tree of $count files outside"
node "$package/dist/test/suites/work/make-tree.js" "$original" "$count"
if [[ $(id -u) == 0 ]]; then
  # What only root may copy: owners, attributes, special files.
  find "$original" -name '*5' -type f -exec chown -h 1234:4321 {} +
  find "$original" -name '*7*' -type f -exec setfattr -n user.origin -v elsewhere {} +
  find "$original" -type f -name '1*' -exec setfacl -m u:1234:r {} +
  mkfifo "$original/special.fifo"
  mknod "$original/special.device" c 1 3
fi

step 'cp -a'
cp -a "$original" "$copy"
step 'diff -r'
diff -r --no-dereference -x 'special.*' "$original" "$copy"
step 'rsync -nac'
attributes=(-H --numeric-ids)
[[ $(id -u) == 0 ]] && attributes+=(-A -X)
differences=$(rsync -nac "${attributes[@]}" --delete --itemize-changes "$original/" "$copy/")
[[ -z $differences ]] || { echo "$differences" | head -20; exit 1; }
step 'find: type, mode, owner, links, times'
# A directory's size tells of its past.
list() {
  (cd "$1" && find . ! -type d -printf '%P|%y|%m|%U:%G|%s|%n|%l|%T@\0' -o -printf '%P|%y|%m|%U:%G|%n|%T@\0' |
    sort -z | tr '\0' '\n')
}
diff <(list "$original") <(list "$copy")
step 'du'
files() {
  (cd "$1" && find . -type f -print0 | du --files0-from=- --apparent-size -b -l | awk '{ sum += $1 } END { print sum }')
}
[[ $(files "$original") == "$(files "$copy")" ]]
if [[ -n ${BEHIND:-} ]]; then [[ $(du -s "$copy" | cut -f1) == "$(du -s "$BEHIND/tree" | cut -f1)" ]]; fi
step 'tar --compare'
tar -C "$copy" -cf - . | tar -C "$original" --compare -f -
step 'tar into the mount'
mkdir "$directory/unpacked"
tar -C "$original" --acls --xattrs -cf - . | tar -C "$directory/unpacked" --acls --xattrs -xpf -
diff <(list "$original") <(list "$directory/unpacked")
diff -r --no-dereference -x 'special.*' "$original" "$directory/unpacked"
step 'mv, chmod -R, rm -rf'
mv "$copy" "$directory/renamed"
chmod -R u+rwX,go-w "$directory/renamed"
[[ $(find "$directory/renamed" | wc -l) == $(find "$original" | wc -l) ]]
rm -rf "$directory/renamed" "$directory/unpacked"
[[ -z $(ls -A "$directory") ]]
