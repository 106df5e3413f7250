#!/bin/bash
# Asks the container's server, which is its first process, on the port and by the protocol that it was given.
port=8000 scheme=http previous=
while IFS= read -r -d '' word; do
  case $word in
    --port=*) port=${word#--port=} ;;
    --ssl-certfile*) scheme=https ;;
  esac
  [ "$previous" = --port ] && port=$word
  previous=$word
done < /proc/1/cmdline
exec curl -sfk -o /dev/null "$scheme://127.0.0.1:$port/health"
