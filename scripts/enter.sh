#!/usr/bin/env bash
# Run a command in the project's environment, in the place of this very process, so that signals reach it, and systemd
# knows it: scripts/enter.sh clip-rl --help
set -euo pipefail
# shellcheck source=scripts/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec "$@"
