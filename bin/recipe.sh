# Sourced by a recipe's run.sh, which defines prepare_data. Reads the options of run.sh and runs its stages: 0 data,
# 1 features, 2 training, 3 scores; and, only if the options choose them, 4 a model for use, 5 scores on disturbed
# recordings. `soctk-plan` checks all options before any work, and sets the variables of the stages. A recipe may define
# before_stages, which gets the options.
# shellcheck shell=bash disable=SC2154

# due STAGE DESCRIPTION LOG: succeeds if the options select this stage, and then prints its description.
due() {
    ((stage <= $1 && $1 <= stop_stage)) || return 1
    [[ $1 != 1 || -z $finetune ]] || return 1  # soctk-finetune encodes the recordings itself
    number=$1 log=$3
    mkdir -p "$(dirname "$log")"
    date '+# %F %T' >> "$log"  # a rerun appends to the log
    echo "$(date '+%H:%M:%S') Stage $1: $2 (log: $log)" | tee -a "$log"
}

# logged COMMAND ...: runs the command; all its output goes to the screen and to the stage's log.
logged() {
    set +e  # so that a failure reaches the message below; in the subshell, prepare_data still stops at its first error
    (set -e; "$@") 2>&1 | tee -ia "$log"
    local status=${PIPESTATUS[0]}
    set -e
    ((status == 0)) && return
    echo "${0##*/}: stage $number failed with exit code $status; log: $(realpath "$log")" >&2
    exit "$status"
}

[[ " $* " != *" --finetune"* ]] || extras+=(finetune)
if [[ " $* " != *" --help "* ]]; then
    "$SOCTK_ROOT/bin/setup" "${extras[@]}"
elif ! command -v soctk-plan > /dev/null; then  # --help alone must not install soctk, which takes minutes
    echo "${0##*/}: run $SOCTK_ROOT/bin/setup first; then --help prints the options" >&2
    exit 1
fi
plan=$(soctk-plan --shell "$recipe" "$@") || exit
eval "$plan"
cd "$recipe"
export PYTHONUNBUFFERED=1  # output and errors reach the log in the order in which they are written
! declare -F before_stages > /dev/null || before_stages "$@"

if due 0 "data: $source -> $data" "$data_log"; then
    logged prepare_data
    logged soctk-validate "$data"
fi

if due 1 "features: $data -> $feats" "$extract_log"; then
    for i in "${!stores[@]}"; do  # several encoders have a store each
        logged "${extract_cmd[@]}" soctk-extract "$data" "${stores[i]}" --upstream "${upstreams[i]}" "${extract_options[@]}"
    done
fi

trained_on=${finetune:+$data}
if due 2 "train: ${trained_on:-$feats} -> $experiment" "$train_log"; then
    if [[ $finetune ]]; then
        logged "${train_cmd[@]}" soctk-finetune "$data" "$experiment" --upstream "${upstreams[0]}" "${train_options[@]}"
    else
        logged "${train_cmd[@]}" soctk-train "$data" "${stores[0]}" "$experiment" "${train_options[@]}"
    fi
fi

if due 3 "score: $expdir -> $expdir/RESULTS.md" "$score_log"; then
    logged soctk-score "$expdir"
fi

if due 4 "pack: $experiment -> $model" "$pack_log"; then
    logged "${train_cmd[@]}" soctk-pack "$experiment" "$model" "${pack_options[@]}"
fi

if due 5 "robustness: $experiment -> $experiment/robustness" "$robustness_log"; then
    logged "${train_cmd[@]}" soctk-robustness "$experiment" "${robustness_options[@]}"
fi
