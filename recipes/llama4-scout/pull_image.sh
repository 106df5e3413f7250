#!/usr/bin/env bash
# Sees to the image outrider:deploy. No registry has it yet: it is built from this repository, or pulled from where you
# keep yours, if IMAGE names that. PLATFORM: linux/amd64 or linux/arm64 (this machine's). ENGINE: docker or podman.
# With MODEL=pocket the image for CPUs.
set -euo pipefail
# shellcheck source=recipes/llama4-scout/settings.sh
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

engine=$(container_engine)
case $(uname -m) in
  aarch64 | arm64) platform=${PLATFORM:-linux/arm64} ;;
  *) platform=${PLATFORM:-linux/amd64} ;;
esac
if [ -n "${IMAGE:-}" ]; then
  "$engine" pull --platform "$platform" "$IMAGE"
  "$engine" tag "$IMAGE" outrider:deploy
else
  [ -f "$root/deploy/docker/Dockerfile" ] || fail "without the repository there is nothing to build from; name an image in IMAGE"
  cuda=ON
  [ "$MODEL" = pocket ] && cuda=OFF
  "$engine" build --platform "$platform" --build-arg "CUDA=$cuda" --tag outrider:deploy \
    --file "$root/deploy/docker/Dockerfile" "$root"
fi
