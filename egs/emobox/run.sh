#!/usr/bin/env bash
# EmoBox: 32 corpora in 14 languages, with the folds and classes of its metadata. See README.md beside this file.
# shellcheck disable=SC2154  # soctk-plan sets the variables that the functions use
set -euo pipefail
recipe=$(CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$recipe/path.sh"
. "$recipe/cmd.sh"

# --dataset all runs this script once for each corpus whose recordings are there, and writes one table of all.
before_stages() {
    [[ $dataset == all ]] || return 0
    local name names own=() failed=() others=()
    while (($#)); do  # all options except those that are given below
        case $1 in
            --dataset | --expdir) shift ;;
            --dataset=* | --expdir=*) ;;
            *) others+=("$1") ;;
        esac
        shift
    done
    names=$(python local/present.py "$corpus" "$stage")
    for name in $names; do
        echo "== $name"
        [[ $expdir == exp ]] || own=(--expdir "$expdir/$name")  # --expdir is given
        (cd "$OLDPWD" && "$recipe/run.sh" "${others[@]}" --dataset "$name" "${own[@]}") || failed+=("$name")
    done
    ((stop_stage < 3)) || python local/table.py "$expdir" "$(basename "$experiment")"
    ((${#failed[@]} == 0)) && exit
    echo "run.sh: these corpora failed; their messages are above: ${failed[*]}" >&2
    exit 1
}

# Stage 0: from EmoBox's metadata in $emobox and the recordings in $corpus to the data directory $data.
prepare_data() {
    local options=()
    [[ $partial == false ]] || options+=(--partial)
    python local/prepare.py "$dataset" "$corpus" "$data" --emobox "$emobox" "${options[@]}"
}

. "$SOCTK_ROOT/bin/recipe.sh"
