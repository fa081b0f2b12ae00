# Where the toolkit is; sourced by run.sh.
# shellcheck shell=bash
SOCTK_ROOT=$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export SOCTK_ROOT PATH="$SOCTK_ROOT/.venv/bin:$PATH"
