#!/usr/bin/env bash
# ESD: 35,000 utterances, 10 Mandarin and 10 English speakers, 5 emotions. See README.md beside this file.
# shellcheck disable=SC2154  # soctk-plan sets the variables that prepare_data uses
set -euo pipefail
recipe=$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$recipe/path.sh"
. "$recipe/cmd.sh"

# Stage 0: from the recordings in $corpus to the data directory $data.
prepare_data() {
    local speakers=$language options=()
    [[ $protocol != cross-lingual ]] || speakers=cross-lingual
    [[ $partial == false ]] || options+=(--partial)
    python local/prepare.py "$corpus" "$data" --folds "conf/folds/$speakers.yaml" "${options[@]}"
}

. "$SOCTK_ROOT/bin/recipe.sh"
