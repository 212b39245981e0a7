// SPDX-License-Identifier: MIT
/**
 * Loads that are commands of every day. Each is a few lines of shell; only `run` is timed.
 *
 * $DIR is the mount, $SOURCE what is behind it, $KEPT a folder for what all systems share.
 */
export interface Command {
  readonly name: string
  /** Once for each system, on the source. */
  readonly prepare: string
  /** Before each round. */
  readonly before?: string
  readonly run: string
  /** After each round: ends with another status than 0 when the result is wrong. */
  readonly verify: string
  readonly nativeOnly?: boolean
}

/** A tree of small C files in $1: $2 folders of 20. */
const TREE = `tree() {
  i=0; while [ $i -lt $2 ]; do
    mkdir -p $1/folder$i; n=0
    while [ $n -lt 20 ]; do
      printf 'int f%d_%d(int x)\\n{\\n  return x * %d + %d;\\n}\\n' $i $n $i $n > $1/folder$i/file$n.c; n=$((n + 1))
    done
    i=$((i + 1))
  done
}
`
const ARCHIVE = `${TREE}
[ -e $KEPT/tree.tar ] || { tree $KEPT/tree 25; tar -cf $KEPT/tree.tar -C $KEPT tree; }
`

export const COMMANDS: readonly Command[] = [
  {
    name: 'git status',
    prepare: `${ARCHIVE}
      mkdir $SOURCE/git; tar -xf $KEPT/tree.tar -C $SOURCE/git; cd $SOURCE/git
      git init -q .; git add .; git -c user.name=b -c user.email=b@example.org commit -q -m tree`,
    run: 'git -c safe.directory="*" -C $DIR/git status --porcelain > $KEPT/output',
    verify: 'test ! -s $KEPT/output',
  },
  {
    name: 'find',
    prepare: `${ARCHIVE} mkdir $SOURCE/find; tar -xf $KEPT/tree.tar -C $SOURCE/find`,
    run: 'find $DIR/find -size -1000k -name "*.c" > $KEPT/output',
    verify: 'test $(wc -l < $KEPT/output) = 500',
  },
  {
    name: 'du',
    prepare: `${ARCHIVE} mkdir $SOURCE/du; tar -xf $KEPT/tree.tar -C $SOURCE/du`,
    run: 'du -s $DIR/du | cut -f 1 > $KEPT/output',
    verify: 'test $(cat $KEPT/output) = $(du -s $SOURCE/du | cut -f 1)',
  },
  {
    name: 'untar',
    prepare: ARCHIVE,
    before: 'rm -rf $DIR/untar; mkdir $DIR/untar',
    run: 'tar -xf $KEPT/tree.tar -C $DIR/untar',
    verify: 'diff -r $KEPT/tree $SOURCE/untar/tree',
  },
  {
    name: 'rm -r',
    prepare: ARCHIVE,
    before: 'rm -rf $DIR/rm; mkdir $DIR/rm; tar -xf $KEPT/tree.tar -C $DIR/rm',
    run: 'rm -r $DIR/rm/tree',
    verify: 'test ! -e $SOURCE/rm/tree',
  },
  {
    name: 'compile',
    prepare: `${TREE} mkdir $SOURCE/compile; tree $SOURCE/compile 1
      echo 'int f0_3(int); int main(void) { return f0_3(0) != 3; }' > $SOURCE/compile/main.c`,
    before: 'rm -f $DIR/compile/program $DIR/compile/*.o',
    run: `cd $DIR/compile; for name in folder0/file1 folder0/file2 folder0/file3 main; do cc -c -o \${name##*/}.o $name.c; done
      cc -o program file1.o file2.o file3.o main.o`,
    verify: '$DIR/compile/program',
  },
  {
    name: 'npm ci',
    // From npm's own cache, which the first run of all fills.
    prepare: `mkdir $SOURCE/npm; cp $PROJECT/package.json $PROJECT/package-lock.json $PROJECT/.npmrc $SOURCE/npm 2>/dev/null || :
      [ -d $KEPT/npm-cache ] || { mkdir $KEPT/npm; cp $SOURCE/npm/* $KEPT/npm; cd $KEPT/npm
        npm ci --ignore-scripts --omit=dev --omit=optional --cache $KEPT/npm-cache > /dev/null 2>&1; }`,
    before: 'rm -rf $DIR/npm/node_modules',
    run: 'cd $DIR/npm; npm ci --ignore-scripts --omit=dev --omit=optional --offline --cache $KEPT/npm-cache > /dev/null 2>&1',
    verify: 'diff -r $KEPT/npm/node_modules $SOURCE/npm/node_modules',
    nativeOnly: true,
  },
  {
    name: 'rm -r node_modules',
    prepare: ':',
    before: 'rm -rf $DIR/modules; mkdir $DIR/modules; cp -a $KEPT/npm/node_modules $DIR/modules',
    run: 'rm -r $DIR/modules/node_modules',
    verify: 'test ! -e $SOURCE/modules/node_modules',
    nativeOnly: true,
  },
]
