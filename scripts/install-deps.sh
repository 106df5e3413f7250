#!/usr/bin/env bash
# Installs what building (level "build"), installing a CUDA compiler ("cuda": scripts/install-cuda.sh), packaging ("package") or
# testing ("test") needs, from Debian 12's or Ubuntu 24.04's own packages, and the sources of one library from PyPI
# (scripts/install-xgrammar.sh). Does nothing, and needs no network, when all of it is there.
# Why each library: docs/dependencies.md.
# Usage: scripts/install-deps.sh [build|cuda|package|test]
set -euo pipefail

level=${1:-build}
case $level in
  build | cuda | package | test) ;;
  *) echo "usage: $0 [build|cuda|package|test]" >&2; exit 2 ;;
esac

distribution=unknown
if [ -r /etc/os-release ]; then
  distribution=$(sed -n 's/^ID=//p' /etc/os-release)
fi
# Boost 1.81 is the first with the Beast and Asio used here; neither distribution has both versions.
boost=libboost1.81-dev
[ "$distribution" = ubuntu ] && boost=libboost1.83-dev

packages=(g++ cmake ninja-build ccache pkg-config "$boost" nlohmann-json3-dev libyaml-dev libspdlog-dev libfmt-dev
  prometheus-cpp-dev libpcre2-dev libhwy-dev libssl-dev python3 python3-venv)
# clang 16: the first that reads g++ 12's C++20 headers (std::source_location).
if [ "$level" = test ]; then
  packages+=(libgtest-dev libgmock-dev git curl xz-utils shellcheck clang-format-14 clang-16 clang-tidy-16
    libclang-rt-16-dev)
  # The browser of tests/web. Ubuntu has it as a snap only.
  [ "$distribution" = debian ] && packages+=(chromium chromium-driver)
fi

# dpkg-shlibdeps names the libraries' packages.
[ "$level" = package ] && packages+=(dpkg-dev file)

is_installed() {
  command -v dpkg-query > /dev/null &&
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2> /dev/null)" = installed ]
}

missing=()
for package in "${packages[@]}"; do
  is_installed "$package" || missing+=("$package")
done
library=$(dirname "$0")/install-xgrammar.sh
[ ${#missing[@]} -eq 0 ] && exec "$library"

if ! command -v apt-get > /dev/null; then
  echo "$0: no apt-get on this machine; install what Debian calls: ${missing[*]}" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo > /dev/null; then
    echo "$0: neither root nor sudo; ask an administrator for: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

# A fresh machine often runs its own apt at boot: wait for its lock rather than fail.
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 \
    -o Dpkg::Use-Pty=0 "$@"
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "installing ${#missing[@]} packages: ${missing[*]}"
if ! { apt update && apt install -y --no-install-recommends "${missing[@]}"; } > "$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "$0: apt-get could not install: ${missing[*]}" >&2
  exit 1
fi
"$library"
