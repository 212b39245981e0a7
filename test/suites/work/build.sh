#!/bin/bash
# SPDX-License-Identifier: MIT
# A C project from Debian's archive unpacked, configured, compiled, tested and installed on the mount. In the small share
# a part of our own posix suite is compiled instead: that needs no network.
source "$(dirname "$0")/common.sh"

if [[ $share == small ]]; then
  step 'make'
  cd "$directory"
  cp "$here"/../posix/{Makefile,posix.h,runner.c,link.c,special.c} .
  make -s CFLAGS=-O0
  ./posix --list | grep -q 'link.c'
  step 'nothing left to do'
  make -q
  step 'one file changed'
  touch link.c
  make -s CFLAGS=-O0
  ./posix --list | grep -q 'special.c'
  exit
fi

# Source packages need deb-src entries, which machines rarely have: a private apt configuration adds them.
name=hello
if ! ls "$CACHE"/$name*.dsc >/dev/null 2>&1; then
  step "fetch Debian's source package $name"
  apt=$CACHE/apt
  mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/sources"
  sed 's/^Types: deb$/Types: deb-src/' /etc/apt/sources.list.d/debian.sources >"$apt/sources/debian.sources" 2>/dev/null ||
    sed 's/^deb /deb-src /' /etc/apt/sources.list >"$apt/sources/debian.list"
  options=(-qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$apt/sources" -o Dir::State::lists="$apt/lists"
    -o Dir::Cache="$apt" -o APT::Sandbox::User=)
  apt-get "${options[@]}" update
  (cd "$CACHE" && apt-get "${options[@]}" source --download-only "$name")
fi
cp "$CACHE"/${name}_* "$directory"
cd "$directory"
step 'unpack'
mkdir project
tar --strip-components=1 -C project -xf "$(ls ${name}_*.orig.tar.* | grep -v asc$)"
cd project
step 'configure'
./configure -q --prefix="$directory/installed" FORCE_UNSAFE_CONFIGURE=1
step 'make'
make -s -j2
step 'make install'
make -s install
[[ $("$directory/installed/bin/$name" | head -1) == 'Hello, world!' ]]
step 'nothing left to do'
was=$(stat -c %y hello)
make -s >/dev/null
[[ $(stat -c %y hello) == "$was" ]]
if [[ $share == full ]]; then
  step 'make check'
  make -s check
  step 'again, outside the source tree'
  make -s distclean
  mkdir ../objects && cd ../objects
  ../project/configure -q && make -s -j2
fi
