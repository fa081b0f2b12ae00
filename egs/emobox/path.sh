# Sets SOCTK_ROOT, the toolkit's folder, and puts its commands on the PATH. run.sh reads this file.
# shellcheck shell=bash
SOCTK_ROOT=$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export SOCTK_ROOT PATH="$SOCTK_ROOT/.venv/bin:$PATH"
