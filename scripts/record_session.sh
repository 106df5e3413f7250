#!/usr/bin/env bash
# Runs the session that README shows against the built binary and prints it as typed text and answers:
# scripts/record_session.sh | scripts/terminal_svg.py > docs/images/session.svg
set -euo pipefail
cd "$(dirname "$0")/.."

port=8000
url=http://127.0.0.1:$port
log=$(mktemp)
trap 'kill "$server" 2> /dev/null; rm -f "$log"' EXIT

type_and_run() {
  echo "\$ $1"
  bash -c "$1"
  echo
}

build/outrider serve --port "$port" > "$log" 2>&1 &
server=$!
for _ in $(seq 100); do
  grep -q "Application startup complete" "$log" && break
  sleep 0.1
done
echo '$ make serve'
grep -E 'Ready after|startup complete' "$log" | sed 's/^INFO [^]]*] /INFO  /'
echo
json='-H "Content-Type: application/json"'
type_and_run "curl -s $url/v1/completions $json \\
    -d '{\"prompt\": \"San Francisco is a\", \"max_tokens\": 20, \"temperature\": 0}' | cut -c1-330"
type_and_run "curl -s $url/v1/chat/completions $json \\
    -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Who are you?\"}], \"temperature\": 0}' \\
    | grep -o '\"content\":\"[^\"]*\"'"
type_and_run "curl -s $url/metrics | grep -E '^vllm:(prompt|generation)_tokens_total'"
