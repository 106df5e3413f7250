#!/usr/bin/env bash
# Builds the image without a Docker engine, unpacks it, and runs the recipe's first steps in it: the proof that the Dockerfile
# is right. Needs root, buildah, debootstrap and network; 10 GB of disk in build/image, and ten minutes of a compiler that has not
# seen the sources before: too heavy for CI.
# The base image is made by debootstrap under its name and slimmed as Debian slims its own.
# Usage: deploy/docker/build.sh [cpu|cuda]...
set -euo pipefail
cd "$(dirname "$0")/../.."

root=$PWD
folder=${IMAGE_FOLDER:-$root/build/image}
base=docker.io/library/debian:bookworm-slim
port=18081
[ "$(id -u)" -eq 0 ] || { echo "$0: needs root, for chroot" >&2; exit 1; }
for program in buildah debootstrap curl; do
  command -v "$program" > /dev/null || { echo "$0: needs $program" >&2; exit 1; }
done
mkdir -p "$folder"

bud() {
  buildah --root "$folder/storage" --runroot "$folder/run" --storage-driver vfs "$@"
}

make_base() {
  bud inspect --type image "$base" > /dev/null 2>&1 && return
  local tree=$folder/base
  if [ ! -d "$tree" ]; then
    rm -rf "$tree.part"
    debootstrap --variant=minbase bookworm "$tree.part" > "$folder/debootstrap.log" 2>&1
    mv "$tree.part" "$tree"
  fi
  find "$tree/usr/share/doc" -mindepth 2 -not -name copyright -not -type d -delete
  rm -rf "$tree"/usr/share/{man,info,locale,lintian,linda,groff}/* "$tree"/var/lib/apt/lists/* "$tree"/var/cache/{apt,debconf}/* \
    "$tree"/var/log/*
  printf 'path-exclude /usr/share/%s/*\n' man info locale lintian linda groff > "$tree/etc/dpkg/dpkg.cfg.d/slim"
  printf 'path-exclude /usr/share/doc/*\npath-include /usr/share/doc/*/copyright\n' >> "$tree/etc/dpkg/dpkg.cfg.d/slim"
  printf 'Acquire::Languages "none";\nAPT::Sandbox::User "root";\n' > "$tree/etc/apt/apt.conf.d/slim"
  tar -C "$tree" -cf "$folder/base.tar" .
  printf 'FROM scratch\nADD base.tar /\nCMD ["bash"]\n' > "$folder/Base"
  bud build --quiet --isolation chroot --tag "$base" --file "$folder/Base" "$folder" > /dev/null
  rm "$folder/base.tar"
}

# What this machine has already need not be fetched or compiled again.
known() {
  local place
  for place in "$root/.xgrammar:/src/.xgrammar" "$root/.cuda:/src/.cuda" \
    "${CCACHE_DIR:-$HOME/.cache/ccache}:/ccache"; do
    [ ! -d "${place%%:*}" ] || printf '%s\n' --volume "$place"
  done
}

build() { # cpu|cuda
  local cuda=OFF volumes
  [ "$1" = cuda ] && cuda=ON
  mapfile -t volumes < <(known)
  bud build --isolation chroot --format docker --layers --build-arg "CUDA=$cuda" "${volumes[@]}" --tag "outrider:$1" \
    --file deploy/docker/Dockerfile "$root" > "$folder/build-$1.log" 2>&1 || {
    tail -n 30 "$folder/build-$1.log" >&2
    return 1
  }
}

check() { # cpu|cuda
  local name=$1 tree=$folder/$1 container bytes answer server status=0
  container=$(bud from --pull-never "outrider:$name")
  rm -rf "$tree"
  cp -a "$(bud mount "$container")" "$tree"
  bud rm "$container" > /dev/null
  rm -f "$folder/$name.tar"
  bytes=$(bud push "outrider:$name" "docker-archive:$folder/$name.tar" > /dev/null 2>&1 && gzip -c "$folder/$name.tar" | wc -c)
  echo "outrider:$name: $(du -sm --apparent-size "$tree" | cut -f1) MB unpacked, $((bytes / 1000000)) MB to pull"
  bud inspect --type image --format '{{.Docker.Config.Entrypoint}} {{.Docker.Config.User}} {{.Docker.Config.Healthcheck}}' \
    "outrider:$name"
  mapfile -t entry < <(bud inspect --type image --format '{{range .Docker.Config.Entrypoint}}{{println .}}{{end}}' \
    "outrider:$name" | sed '/^$/d')
  mount --rbind /dev "$tree/dev"
  local as_user=(chroot --userspec=outrider:outrider "$tree" env -i -C /home/outrider HOME=/home/outrider
    PATH=/usr/local/bin:/usr/bin:/bin MODEL=pocket "PORT=$port")
  # `docker run IMAGE --model X`: the entry point, and what a user adds to it, as the first process of the container.
  # shellcheck disable=SC2016
  unshare --mount --pid --fork bash -c 'mount -t proc proc "$0/proc" && exec "$@"' "$tree" "${as_user[@]}" "${entry[@]}" \
    --model pocket --port $port > "$folder/serve.log" 2>&1 &
  for _ in $(seq 300); do
    grep -q "Application startup complete" "$folder/serve.log" && break
    sleep 0.2
  done
  server=$(pgrep --parent $!)
  # `--entrypoint /bin/bash`: a shell with the recipe's scripts and `vllm`; and the check of health, as an engine runs it.
  answer=$(nsenter --target "$server" --mount --pid "${as_user[@]}" /bin/bash -c \
    './recipes/llama4-scout/run_basic_test.sh && vllm --version && /usr/share/outrider/healthcheck.sh && echo healthy' 2>&1) || status=$?
  echo "$answer"
  kill "$server"
  wait %1 || true
  umount -R "$tree/dev"
  grep -q '"finish_reason":"length"' <<< "$answer" || { cat "$folder/serve.log" >&2; return 1; }
  return "$status"
}

if [ "${1:-}" = checked ]; then
  check "$2"
  exit
fi
[ $# -eq 0 ] && set -- cpu cuda
make_base
for name in "$@"; do
  build "$name"
  # Mounts and processes of its own: whatever happens inside, nothing stays mounted or running.
  unshare --mount --mount-proc --pid --fork --kill-child "$root/deploy/docker/build.sh" checked "$name"
done
