#!/bin/bash
# SPDX-License-Identifier: MIT
# A real `npm ci` of this package's own dependencies; then the compiler that it installed compiles.
source "$(dirname "$0")/common.sh"

mkdir "$directory/project"
cp "$package"/package.json "$package"/package-lock.json "$directory/project"
cd "$directory/project"
step 'npm ci'
npm ci --ignore-scripts --prefer-offline --no-audit --no-fund --no-update-notifier --cache "$CACHE/npm"
step 'npm ls'
npm ls --all >/dev/null
step 'the compiler runs'
echo 'export const answer: number = 42' >one.ts
node_modules/.bin/tsc --ignoreConfig --module nodenext --target es2022 --outDir out one.ts
[[ $(node --input-type=module -e 'console.log((await import("./out/one.js")).answer)') == 42 ]]
step 'once more, over what is there'
npm ci --ignore-scripts --prefer-offline --no-audit --no-fund --no-update-notifier --cache "$CACHE/npm"
rm -rf node_modules
