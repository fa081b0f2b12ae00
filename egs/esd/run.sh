#!/usr/bin/env bash
# ESD: 35,000 utterances, 10 Mandarin and 10 English speakers, 5 emotions. See README.md beside this file.
set -euo pipefail
recipe=$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$recipe/path.sh"
. "$recipe/cmd.sh"
. "$SOCTK_ROOT/bin/options.sh"
corpus=""         # DIR with ESD anywhere below it; it is given on request (README.md)
preset=paper      # paper: soc with d = 24, as published; or default: mean+soc_full under a linear head
protocol=soctk    # soctk or emobox, as everywhere, or cross-lingual: train on one language, test on the other
language=all      # whose speakers: all, en or zh
partial=false     # true: take what an incomplete copy has, and say what it lacks
protocols+="|cross-lingual"
extras=()
. "$SOCTK_ROOT/bin/recipe.sh"

[[ $language =~ ^(all|en|zh)$ ]] || die_of_usage "--language is all, en or zh"
[[ $partial =~ ^(true|false)$ ]] || die_of_usage "--partial is true or false"
speakers=$language
if [[ $protocol == cross-lingual ]]; then
    [[ $language == all ]] || die_of_usage "--protocol cross-lingual is about both languages"
    speakers=cross-lingual
fi
[[ $language == all ]] || feats+=-$language
[[ $speakers == all ]] || data+=-$speakers experiment+=-$speakers

if run_stage 0 "data: $corpus -> $data"; then
    need_corpus "ESD is given for research on request: see https://github.com/HLTSingapore/Emotional-Speech-Data"
    options=(--folds "conf/folds/$speakers.yaml")
    [[ $partial == false ]] || options+=(--partial)
    python local/prepare.py "$corpus" "$data" "${options[@]}"
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
