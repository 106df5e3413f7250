#!/usr/bin/env bash
# What a newcomer types, timed; with an argument that is not empty, `make test` at the end. Runs inside the bare root file
# system that scripts/bare_debian.sh makes.
set -eu
cd "$HOME"
port=18080

start=$(date +%s.%N)
seconds() { awk -v from="$start" -v to="$(date +%s.%N)" 'BEGIN { printf "%.0f", to - from }'; }

git config --global safe.directory '*'
git clone -q file:///mnt/repository outrider
cd outrider
: > serve.log
make serve ARGS="--port $port" >> serve.log 2>&1 &
while ! grep -q "Application startup complete" serve.log; do
  kill -0 $! 2> /dev/null || { cat serve.log; exit 1; }
  sleep 0.2
done
echo "ready after $(seconds) s, $(du -sm . | cut -f1) MB in the clone"

body='{"prompt":"San Francisco is a","max_tokens":20,"temperature":0}'
exec 3<> "/dev/tcp/127.0.0.1/$port"
printf 'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n' >&3
printf 'Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' "${#body}" "$body" >&3
tail -n 1 <&3
echo

start=$(date +%s.%N)
make build > build.log 2>&1
echo "make build again: $(seconds) s"

[ -n "${1:-}" ] || exit 0
start=$(date +%s.%N)
make test > test.log 2>&1 || { tail -n 40 test.log; exit 1; }
echo "make test: $(seconds) s, $(tail -n 1 test.log)"
