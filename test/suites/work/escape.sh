#!/bin/bash
# SPDX-License-Identifier: MIT
# Symlinks inside the tree, hostile ones too, are followed by the client from where it stands, never by the server.
# Needs BEHIND, the served directory, since it changes the tree behind the server's back.
source "$(dirname "$0")/common.sh"

: "${BEHIND:?the directory behind the mount}"
outside=$(dirname "$BEHIND")/outside   # what the server would reach through ..
beside=$(dirname "$directory")/outside # what the client reaches
if [[ $outside == "$beside" ]]; then
  echo 'the mount and its source must not lie in the same directory' >&2
  exit 2
fi
mkdir -p "$outside" "$beside"
echo server >"$outside/secret"
echo client >"$beside/secret"

step 'relative, absolute and nested links'
ln -s ../outside/secret "$BEHIND/relative"
ln -s "$beside/secret" "$BEHIND/absolute"
mkdir -p "$BEHIND/a/b"
ln -s ../../../outside "$BEHIND/a/b/up"
for path in relative absolute a/b/up/secret; do [[ $(cat "$directory/$path") == client ]]; done
step 'writing through them'
echo written >"$directory/relative"
[[ $(cat "$outside/secret") == server && $(cat "$beside/secret") == written ]]
echo client >"$beside/secret"
step 'dots lead to where the client is'
[[ $(cat "$directory/../outside/secret") == client ]]
[[ $(cat "$directory/a/../../outside/secret") == client ]]
step 'a directory that turns into a link and back while it is used'
mkdir "$BEHIND/real"
echo inside >"$BEHIND/real/secret"
ln -s ../outside "$BEHIND/lie"
(
  while [[ ! -e $BEHIND/stop ]]; do
    mv -T "$BEHIND/real" "$BEHIND/d" && mv -T "$BEHIND/d" "$BEHIND/real"
    mv -T "$BEHIND/lie" "$BEHIND/d" && mv -T "$BEHIND/d" "$BEHIND/lie"
  done
) &
swapper=$!
tries=$(share_of 1000 20000)
for ((i = 0; i < tries; i++)); do
  # Absent for a moment: fine. The server's own file: an escape.
  content=
  { read -r content <"$directory/d/secret"; } 2>/dev/null || true
  [[ $content != server ]] || { echo 'read a file outside of the source'; touch "$BEHIND/stop"; exit 1; }
  { echo overwritten >"$directory/d/new"; } 2>/dev/null || true
done
touch "$BEHIND/stop"
wait "$swapper"
[[ ! -e $outside/new && $(cat "$outside/secret") == server ]]
rm -rf "${outside:?}" "${beside:?}"
