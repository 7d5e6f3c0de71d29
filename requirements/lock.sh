#!/bin/sh
# Writes the hash-locked *.txt beside their *.in; `make lock` calls it.
set -eu
cd "$(dirname "$0")"
for name in base uvicorn embedded dev clients infra checkov; do
  "${UV:-uv}" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
    --custom-compile-command "make lock" "$name.in" -o "$name.txt"
done
"${UV:-uv}" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-deps --no-emit-find-links \
  --custom-compile-command "make lock" weights.in -o weights.txt
