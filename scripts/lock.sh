#!/usr/bin/env bash
# Resolve requirements/*.in and the extras of pyproject.toml into the pinned files that scripts/setup.sh installs from.
# For maintainers, after a change of dependencies; needs `uv` on the PATH. Every Python from 3.10 to 3.13 in one file,
# told apart by environment markers.
set -euo pipefail
CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")/.."

command -v uv >/dev/null || { echo "lock: uv is not on the PATH; install it with: pip install uv" >&2; exit 1; }

lock() { # lock OUTPUT MINIMAL_PYTHON ARGUMENTS...
  local output=$1 python=$2
  shift 2
  uv pip compile --quiet --universal --python-version "$python" --no-emit-index-url --no-emit-find-links --no-annotate \
    --custom-compile-command "scripts/lock.sh" --output-file "$output" "$@"
  echo "lock: $output: $(grep -c == "$output") pins"
}

extras=(--extra cpu --extra int8 --extra tensorrt --extra training --extra viewer --extra peers --extra meshes --extra search --extra dev)
lock requirements/constraints.txt 3.10 pyproject.toml requirements/python.in "${extras[@]}"
lock requirements/constraints-apt.txt 3.10 pyproject.toml requirements/python-apt.in --extra cpu --extra training --extra peers --extra dev
for distro in jazzy kilted; do
  lock "requirements/ros-$distro.txt" 3.10 "requirements/ros-$distro.in" --constraint requirements/constraints.txt
done
