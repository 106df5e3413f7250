#!/usr/bin/env bash
# Installs each package of build/package in a Debian 12 that holds nothing but its smallest base, and takes a completion from Pocket
# Scout there. Needs root, debootstrap, network. Usage, after `make package`: deploy/packages.sh
set -euo pipefail
cd "$(dirname "$0")/.."

packages=$PWD/build/package
base=${BASE:-$PWD/build/bare/smallest}
[ "$(id -u)" -eq 0 ] || { echo "$0: needs root, for chroot" >&2; exit 1; }

# By bash's own means: the system has no curl.
# shellcheck disable=SC2016 # the shell inside expands it
request='exec 3<> /dev/tcp/127.0.0.1/18082
body="{\"prompt\":\"San Francisco is a\",\"max_tokens\":20,\"temperature\":0}"
printf "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n" >&3
printf "Content-Length: %d\r\n\r\n%s" "${#body}" "$body" >&3
tail -n 1 <&3'

serve_in() { # ROOT PROGRAM
  chroot "$1" "$2" serve --port 18082 --device cpu > "$1/serve.log" 2>&1 &
  for _ in $(seq 150); do
    grep -q "Application startup complete" "$1/serve.log" && break
    sleep 0.2
  done
  answer=$(chroot "$1" bash -c "$request")
  echo "$answer"
  kill $!
  wait $! || true
  grep -q '"finish_reason":"length"' <<< "$answer" || { cat "$1/serve.log" >&2; return 1; }
}

check() { # PACKAGE
  local tree=$packages/root program=/usr/bin/outrider
  rm -rf "$tree"
  cp -a "$base" "$tree"
  echo "$(basename "$1"): $(($(stat -c %s "$1") / 1000000)) MB"
  cp "$1" "$tree/tmp"
  case $1 in
    *.deb)
      chroot "$tree" apt-get -qq update
      chroot "$tree" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "/tmp/$(basename "$1")" \
        > "$packages/apt.log" 2>&1
      ;;
    *)
      tar -C "$tree/opt" -xf "$1"
      program=/opt/$(basename "$1" .tar.gz)/bin/outrider
      ;;
  esac
  mount -t proc proc "$tree/proc"
  mount --rbind /dev "$tree/dev"
  serve_in "$tree" "$program"
}

if [ "${1:-}" = check ]; then
  check "$2"
  exit
fi
if [ ! -d "$base" ]; then
  mkdir -p "$(dirname "$base")"
  debootstrap --variant=minbase bookworm "$base.part" > "$base.log" 2>&1
  mv "$base.part" "$base"
fi
for package in "$packages"/*.deb "$packages"/*.tar.gz; do
  # Mounts and processes of its own: whatever happens inside, nothing stays mounted or running.
  BASE=$base unshare --mount --pid --fork --kill-child deploy/packages.sh check "$package"
done
rm -rf "$packages/root"
