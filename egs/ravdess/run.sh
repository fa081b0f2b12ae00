#!/usr/bin/env bash
# RAVDESS: 1,440 utterances, 24 actors, 8 emotions. See README.md beside this file.
# shellcheck disable=SC2154  # soctk-plan sets the variables that prepare_data uses
set -euo pipefail
recipe=$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$recipe/path.sh"
. "$recipe/cmd.sh"

# Stage 0: from the recordings in $corpus to the data directory $data.
prepare_data() {
    if [[ -z $corpus ]]; then
        corpus=downloads
        python local/download.py "$corpus"
    fi
    python local/prepare.py "$corpus" "$data"
}

. "$SOCTK_ROOT/bin/recipe.sh"
