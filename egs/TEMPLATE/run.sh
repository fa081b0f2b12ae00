#!/usr/bin/env bash
# NAME: so many utterances, speakers and emotions. See README.md beside this file.
set -euo pipefail
recipe=$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$recipe/path.sh"
. "$recipe/cmd.sh"
. "$SOCTK_ROOT/bin/options.sh"
corpus=""         # DIR of the recordings
extras=()
. "$SOCTK_ROOT/bin/recipe.sh"

if run_stage 0 "data: $corpus -> $data"; then
    need_corpus "Before that, fill in local/prepare.py and conf/folds.yaml, as the examples in them do; or see egs/README.md."
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
