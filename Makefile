# The commands people use daily. `make help` lists them; CONTRIBUTING.md says more.
# Only make itself need be there: each target first installs what it needs (scripts/install-deps.sh, and on a machine with
# an NVIDIA driver scripts/install-cuda.sh).
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help build serve package test test-clients gpu-test gpu-bench format lint fuzz clean

export CCACHE_BASEDIR := $(CURDIR)
export CCACHE_NOHASHDIR := 1

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build:  ## build/outrider, optimised; with the CUDA runner where there is an NVIDIA driver or nvcc
	@scripts/install-deps.sh build
	@scripts/install-cuda.sh gpu
	@cmake -S . -B build -G Ninja --log-level=NOTICE -DCMAKE_BUILD_TYPE=Release -DOUTRIDER_TESTS=OFF
	@cmake --build build --target outrider

serve: build  ## build, then serve Pocket Scout until Ctrl-C; flags in ARGS="--port 9000"
	@exec build/outrider serve $(ARGS)

package: build  ## a Debian package and a tarball of it, in build/package
	@scripts/install-deps.sh package
	@cmake --build build --target package

test:  ## the suite but fuzz and test-clients; parts of it: scripts/test.sh --help
	@scripts/test.sh

test-clients:  ## lm_eval against the served model (downloads torch: 5 GB of disk)
	@scripts/test.sh clients

gpu-test:  ## tests on this machine's Hopper GPU: kernels, faults, transformers, memory checkers
	@scripts/gpu.sh test

gpu-bench:  ## checks every kernel and times it beside its floor
	@scripts/gpu.sh bench

format:  ## clang-format, in place
	@scripts/install-deps.sh test
	@scripts/check_format.sh --fix

lint:  ## clang-tidy on every source file
	@scripts/install-deps.sh test
	@scripts/lint.sh

fuzz:  ## each parser for FUZZ_SECONDS (default 60)
	@scripts/test.sh fuzz

clean:  ## remove what was built; the Python environments in .venv stay
	rm -rf build
