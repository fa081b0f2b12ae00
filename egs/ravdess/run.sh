#!/usr/bin/env bash
# RAVDESS: 1,440 utterances, 24 actors, 8 emotions. See README.md beside this file.
set -euo pipefail
recipe=$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$recipe/path.sh"
. "$recipe/cmd.sh"
. "$SOCTK_ROOT/bin/options.sh"
corpus=""         # DIR Audio_Speech_Actors_01-24 or its parent; downloaded from Zenodo by default
extras=()
. "$SOCTK_ROOT/bin/recipe.sh"

if run_stage 0 "data: ${corpus:-Zenodo record 1188976} -> $data"; then
    [[ -n $corpus ]] || { python local/download.py downloads; corpus=downloads; }
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
