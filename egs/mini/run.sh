#!/usr/bin/env bash
# Synthetic emotional speech, made on the spot: no download, no GPU, about a minute. See README.md beside this file.
set -euo pipefail
recipe=$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$recipe/path.sh"
. "$recipe/cmd.sh"
. "$SOCTK_ROOT/bin/options.sh"
corpus=corpus     # DIR to make the recordings in
extras=(mini)
. "$SOCTK_ROOT/bin/recipe.sh"

if run_stage 0 "data: synthesiser -> $corpus -> $data"; then
    python local/prepare.py "$corpus" "$data"
    soctk-validate "$data"
fi

if run_stage 1 "features: $data -> $feats"; then
    extract_features
fi

if run_stage 2 "train: $feats -> $experiment"; then
    train_folds
fi

if run_stage 3 "score: $expdir -> $expdir/RESULTS.md"; then
    soctk-score "$expdir"
fi
