#!/usr/bin/env bash
# RAVDESS: 1,440 utterances, 24 actors, 8 emotions. See README.md beside this file.
set -euo pipefail
recipe=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$recipe/path.sh"
. "$recipe/cmd.sh"

# Options
stage=0           # first stage to run: 0 data, 1 features, 2 train, 3 score
stop_stage=3      # last stage to run
corpus=""         # DIR Audio_Speech_Actors_01-24 or its parent; downloaded from Zenodo by default
upstream=fbank    # name in s3prl, or DIR or hub id of Hugging Face
layer=last        # hidden state of the upstream: last, or a number from 0
pooling=soc       # pooling layer: mean or soc
folds=""          # folds to test, such as "1 2"; all of them by default
seeds="1"         # seeds, such as "1 2 3"
protocol=soctk    # validation: soctk (speaker-disjoint) or emobox (20% at random)
train_args=""     # more options of soctk-train, such as "--set train.lr=1e-3"
tag=""            # added to the experiment's name, to keep other settings apart
nj=2              # how many processes share the work
device=auto       # cpu, cuda or auto
expdir=exp        # DIR for experiments
# End of options
. "$SOCTK_ROOT/bin/recipe.sh"
"$SOCTK_ROOT/bin/setup"
cd "$recipe"
data=data/$(basename "$recipe")

if run_stage 0 "data: ${corpus:-Zenodo record 1188976} -> $data"; then
    [[ -n $corpus ]] || { python local/download.py downloads; corpus=downloads; }
    python local/prepare.py "$corpus" "$data"
    soctk-validate "$data"
fi

if run_stage 1 "features: $data -> $feats"; then
    "${extract_cmd[@]}" soctk-extract "$data" "$feats" --upstream "$upstream" --layer "$layer" --nj "$nj" --device "$device"
fi

if run_stage 2 "train: $feats -> $experiment"; then
    read -ra more <<< "$train_args"
    "${train_cmd[@]}" soctk-train "$data" "$feats" "$experiment" --pooling "$pooling" \
        --conf "$SOCTK_ROOT/conf" --conf conf --folds "$folds" --seeds "$seeds" --protocol "$protocol" \
        --nj "$nj" --device "$device" "${more[@]}"
fi

if run_stage 3 "score: $expdir -> $expdir/RESULTS.md"; then
    soctk-score "$expdir"
fi
