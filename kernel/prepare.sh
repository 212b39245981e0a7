#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# prepare.sh SOURCE FOLDER: makes FOLDER the module's source: the distribution's fs/fuse, patched, and our files.
#
# SOURCE is linux-source's tar archive, or an unpacked kernel source. Files that have not changed keep their time,
# so that a later make compiles only what it must.
set -eu
source=$1
folder=$2
here=$(cd "$(dirname "$0")" && pwd)
pristine=$folder/.fs-fuse
fresh=$folder/.fresh

# Unpacking reads all of the archive, which takes some seconds: once per archive.
stamp=$(stat -Lc '%n %s %Y' "$source")
if [ "$(cat "$pristine/.stamp" 2>/dev/null || true)" != "$stamp" ]; then
	rm -rf "$pristine"
	mkdir -p "$pristine"
	if [ -d "$source" ]; then
		cp "$source"/fs/fuse/*.[ch] "$pristine"
	else
		tar -xf "$source" -C "$pristine" --strip-components=3 --wildcards '*/fs/fuse/*.[ch]'
	fi
	echo "$stamp" > "$pristine/.stamp"
fi

rm -rf "$fresh"
mkdir -p "$fresh"
cp "$pristine"/*.[ch] "$fresh"
rm -f "$fresh"/cuse.c "$fresh"/dax.c "$fresh"/virtio_fs.c
while read -r patch; do
	# A patch that applies only at another place is one to look at: no fuzz.
	patch --quiet --strip=1 --fuzz=0 --no-backup-if-mismatch --directory="$fresh" < "$here/patches/$patch" ||
		{ echo "prepare.sh: $patch does not apply to $source" >&2; exit 1; }
done < "$here/patches/series"

# struct fuse_conn becomes struct efuse_fs_fuse_conn, and so on: CO-RE looks for types by name, in the kernel and in
# all modules, and must not find two.
{
	echo '/* SPDX-License-Identifier: GPL-2.0-only */'
	cat "$fresh"/*.[ch] | sed -nE 's/^(struct|union|enum) ([a-z_0-9]+) \{.*/\2/p' | sort -u | grep -v '^efuse_' |
		sed 's/.*/#define & efuse_fs_&/'
} > "$fresh/efuse_tags.h"
cp "$here"/src/* "$fresh"

for file in "$folder"/*.[ch]; do
	[ ! -e "$file" ] || [ -e "$fresh/$(basename "$file")" ] || rm "$file"
done
for file in "$fresh"/*; do
	cmp -s "$file" "$folder/$(basename "$file")" || cp "$file" "$folder"
done
rm -rf "$fresh"
