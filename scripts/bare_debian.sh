#!/usr/bin/env bash
# Times a newcomer's first minutes: from `git clone` to "Application startup complete" on a Debian 12 root file system
# that holds nothing but its smallest base, make and git. Once as root, once as a user with sudo. With --test the suite's
# `make test` there, too.
# Needs root, debootstrap, network. Usage: scripts/bare_debian.sh [--test] [root|user]...
set -euo pipefail
cd "$(dirname "$0")/.."

self=$PWD/scripts/bare_debian.sh
repository=$PWD
folder=$PWD/build/bare
[ "$(id -u)" -eq 0 ] || { echo "$0: needs root, for chroot" >&2; exit 1; }
command -v debootstrap > /dev/null || { echo "$0: needs the package debootstrap" >&2; exit 1; }

make_base() {
  [ -d "$folder/base" ] && return
  rm -rf "$folder/base.part"
  mkdir -p "$folder"
  debootstrap --variant=minbase bookworm "$folder/base.part" > "$folder/debootstrap.log" 2>&1
  echo "127.0.0.1 localhost" > "$folder/base.part/etc/hosts"  # an installation writes it, debootstrap does not
  chroot "$folder/base.part" apt-get -qq install -y --no-install-recommends make git > "$folder/apt.log" 2>&1
  mv "$folder/base.part" "$folder/base"
}

run_as() { # root|user
  local root=$folder/$1
  rm -rf "$root"
  cp -a "$folder/base" "$root"
  mkdir -p "$root/mnt/repository"
  if [ "$1" = user ]; then
    chroot "$root" apt-get -qq install -y --no-install-recommends sudo > "$folder/sudo.log" 2>&1
    chroot "$root" useradd --create-home --shell /bin/bash newcomer
    echo 'newcomer ALL=(ALL) NOPASSWD: ALL' > "$root/etc/sudoers.d/newcomer"
  fi
  echo "== as $1"
  # Mounts and processes of its own: whatever happens inside, nothing stays mounted or running.
  unshare --mount --pid --fork --kill-child "$self" inside "$1" "$test"
  du -sm "$root" | awk '{ print $1 " MB in the whole root file system" }'
  rm -rf "$root"
}

inside() { # root|user
  local root=$folder/$1 path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  mount --bind "$repository" "$root/mnt/repository"
  mount -t proc proc "$root/proc"
  mount --rbind /dev "$root/dev"
  cp scripts/bare_debian_newcomer.sh "$root/mnt"
  if [ "$1" = user ]; then
    chroot --userspec=newcomer:newcomer "$root" env -i HOME=/home/newcomer PATH="$path" bash /mnt/bare_debian_newcomer.sh "$test"
  else
    chroot "$root" env -i HOME=/root PATH="$path" bash /mnt/bare_debian_newcomer.sh "$test"
  fi
}

if [ "${1:-}" = inside ]; then
  test=$3
  inside "$2"
  exit
fi
test=
[ "${1:-}" = --test ] && test=yes && shift
make_base
[ $# -eq 0 ] && set -- root user
for who in "$@"; do
  run_as "$who"
done
