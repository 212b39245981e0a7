# SPDX-License-Identifier: MIT
#
# What every script of real work starts with. Use: SCRIPT DIRECTORY [small|ci|full]
# DIRECTORY is on the file system under test; WORK (made if unset) and CACHE (downloads) are elsewhere.
set -euo pipefail
export LC_ALL=C.UTF-8
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
package=$(cd "$here/../../.." && pwd)
if [[ $# -lt 1 || ! -d $1 ]]; then
  echo "usage: $0 DIRECTORY [ci|full]" >&2
  exit 2
fi
directory=$(cd "$1" && pwd)
share=${2:-ci}
CACHE=${CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/efuse-suites}
mkdir -p "$CACHE"
if [[ -z ${WORK:-} ]]; then
  WORK=$(mktemp -d "${EFUSE_SUITES_DIR:-/var/tmp}/suites-XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
fi
step() { echo "# $*"; }
# The first of two numbers in the ci share, the second in full; in small a tenth of the first.
share_of() {
  case $share in
    full) echo "$2" ;;
    small) if [[ $1 =~ ^[0-9]+$ ]]; then echo $((($1 + 9) / 10)); else echo "$1"; fi ;;
    *) echo "$1" ;;
  esac
}
