#!/usr/bin/env bash
# All C++ and CUDA is as clang-format 14 would write it. --fix: write it so.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=(--dry-run -Werror)
[ "${1:-}" = --fix ] && mode=(-i)
git ls-files -z --cached --others --exclude-standard -- '*.cc' '*.h' '*.cu' '*.cuh' | xargs -0 -r clang-format-14 "${mode[@]}"
