# Sourced by every recipe's run.sh after its options: parses the command line, sets the recipe up, and has its stages.
# Expects $recipe, the recipe's directory, and what path.sh, cmd.sh and bin/options.sh set; leaves the shell in $recipe.
# An option is given as `--name value` or `--name=value`, with - or _ within the name.
# shellcheck shell=bash disable=SC2154

log() { echo "$(date '+%H:%M:%S') $*"; }

die_of_usage() {
    echo "${0##*/}: $1" >&2
    echo "${0##*/} --help has the options, with their defaults." >&2
    exit 2
}

usage() {
    echo "Usage: ${0##*/} [--OPTION VALUE ...]"
    local name
    for name in "${option_names[@]}"; do
        printf '  --%-13s %s (default: %s)\n' "${name//_/-}" "${option_help[$name]}" "${option_default[$name]:-none}"
    done
}

# need_corpus WHERE: die, saying where the corpus comes from, unless --corpus was given.
need_corpus() {
    [[ -z $corpus ]] || return 0
    local go_on=""
    [[ ! -f $data/wav.scp ]] || go_on=" To go on with $data, which is there already: --stage 1."
    echo "${0##*/}: stage 0 needs the recordings: --corpus DIR. $1$go_on" >&2
    exit 1
}

# must_be OPTION PATTERN WHAT: die, saying what the option's value is to be, unless the pattern matches the whole of it.
must_be() {
    [[ ${!1} =~ ^($2)$ ]] || die_of_usage "--${1//_/-} is $3, not '${!1}'"
}

# words_of OPTION: the words of its value, split as a shell does, with quotes and lines, but nothing in it is evaluated;
# each ends with NUL.
words_of() {
    local split='import shlex, sys; sys.stdout.write("".join(f"{word}\0" for word in shlex.split(sys.argv[1])))'
    "$SOCTK_ROOT/.venv/bin/python" -I -X utf8 -c "$split" "${!1}" 2> /dev/null ||
        die_of_usage "--${1//_/-} has a quote (', \" or \\) that is not closed: ${!1}"
}

# run_stage N WHAT: whether stage N was asked for; says so if it was.
run_stage() {
    ((stage <= $1 && $1 <= stop_stage)) || return 1
    log "Stage $1: $2"
}

extract_features() {
    "${extract_cmd[@]}" soctk-extract "$data" "$feats" "${conf[@]}" \
        --upstream "$upstream" --layer "$layer" --speed-perturb "$speed_perturb" \
        --nj "$nj" --device "$device" "${extract_more[@]}"
}

train_folds() {
    "${train_cmd[@]}" soctk-train "$data" "$feats" "$experiment" "${conf[@]}" \
        --layer "$use_layer" --combine "$combine" --pooling "$pooling" --head "$head" \
        --recentre "$recentre" --enrol "$enrol" --protocol "$protocol" \
        --folds "$folds" --seeds "$seeds" --nj "$nj" --device "$device" "${train_more[@]}"
}

option_names=()
declare -A option_help=() option_default=()
while IFS= read -r line; do
    if [[ $line =~ ^([a-z_]+)=.*#\ (.*)$ ]]; then
        name=${BASH_REMATCH[1]}
        [[ -v option_help[$name] ]] || option_names+=("$name")
        option_help[$name]=${BASH_REMATCH[2]}
        option_default[$name]=${!name}
    fi
done < <(cat "$SOCTK_ROOT/bin/options.sh" "$0")

while (($#)); do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --*=*) option=${1%%=*} value=${1#*=}; shift ;;
        --*) (($# > 1)) || die_of_usage "$1 needs a value"; option=$1 value=$2; shift 2 ;;
        *) die_of_usage "'$1' is not an option" ;;
    esac
    name=${option#--}
    name=${name//-/_}
    [[ -v option_help[$name] ]] || die_of_usage "unknown option '$option'; there are$(printf ' --%s' "${option_names[@]//_/-}")"
    # The recipe runs in its own directory; a relative path was meant from the caller's.
    case $name in
        corpus | expdir) [[ -z $value || $value == /* ]] || value=$PWD/$value ;;
        upstream)  # a name such as fbank is not the folder that happens to be called so
            [[ ! -d $value || ($value != */* && ! -f $value/config.json) ]] || value=$(CDPATH='' cd -- "$value" && pwd)
            ;;
    esac
    if [[ $name == corpus && -n $value && ! -d $value ]]; then
        echo "${0##*/}: --corpus $value: no such directory. Check the path." >&2
        exit 1
    fi
    printf -v "$name" '%s' "$value"
done
[[ $stage =~ ^[0-3]$ && $stop_stage =~ ^[0-3]$ ]] || die_of_usage "stages are 0, 1, 2 and 3"
((stage <= stop_stage)) || die_of_usage "the first stage, $stage, is after the last, $stop_stage"
conf=(--conf "$SOCTK_ROOT/conf" --conf conf)
case $preset in
    default) : "${pooling:=mean+soc_full}" ;;
    paper)
        : "${pooling:=soc}" "${head:=mlp}"
        conf=(--conf "$SOCTK_ROOT/conf" --conf "$SOCTK_ROOT/conf/preset/paper" --conf conf)
        ;;
    *) die_of_usage "the presets are default and paper" ;;
esac
# "3, 4" and "3 4" are the same and give the same names.
for name in layer use_layer folds seeds speed_perturb; do
    read -ra words <<< "${!name//[[:space:],]/ }"
    [[ $name != @(layer|use_layer) ]] || mapfile -t words < <(printf '%s\n' "${words[@]}" | sort -g)
    [[ $name != speed_perturb || ! ${words[*]} =~ ^[0-9.\ ]+$ ]] ||
        mapfile -t words < <(printf '%s\n' "${words[@]}" | LC_ALL=C awk '{print $1 + 0}' | LC_ALL=C sort -g)
    printf -v "$name" '%s' "${words[*]}"
    [[ -z $(printf '%s\n' "${words[@]}" | sort | uniq -d) ]] || die_of_usage "--${name//_/-} has one twice: '${!name}'"
done
[[ $enrol == all || $recentre == speaker ]] || die_of_usage "--enrol is for --recentre speaker"
[[ +$pooling+ =~ \+(asp|soc|soc_nolem)\+ ]] && : "${head:=mlp}" || : "${head:=linear}"
[[ $head == linear ]] && : "${combine:=concat}" || : "${combine:=sum}"
# Told now rather than after hours of extraction:
is_in_conf() { [[ -f $SOCTK_ROOT/conf/$1.yaml || -f $recipe/conf/$1.yaml ]]; }
IFS=+ read -ra poolings <<< "$pooling+end"  # what follows the last + counts, even if it is nothing
for name in "${poolings[@]::${#poolings[@]}-1}"; do
    is_in_conf "pooling/$name" || die_of_usage "unknown pooling '$name': there is no conf/pooling/$name.yaml"
done
is_in_conf "head/$head" || die_of_usage "unknown head '$head': there is no conf/head/$head.yaml"
numbers='[0-9]+( [0-9]+)*' speed='(0[.][5-9][0-9]*|1[.][0-9]+|2)'
must_be layer "last|all|$numbers" 'last, all or whole numbers such as "3 4"'
must_be speed_perturb "($speed( $speed)*)?" 'a list of speeds from 0.5 to 2, other than 1, such as "0.9 1.1"'
must_be use_layer "all|$numbers" 'all or whole numbers such as "3 4"'
must_be combine 'sum|concat' 'sum or concat'
must_be folds "($numbers)?" 'a list of whole numbers such as "1 2"'
must_be seeds "$numbers" 'a list of whole numbers such as "1 2"'
must_be recentre 'none|speaker' 'none or speaker'
must_be enrol 'all|[0-9]+' 'all or a whole number'
must_be protocol "$protocols" "${protocols//|/ or }"
must_be nj '[1-9][0-9]*' 'a whole number from 1'
must_be device 'cpu|cuda|auto' 'cpu, cuda or auto'

# data/RECIPE, feats/UPSTREAM[-layerN][-spS] and exp/UPSTREAM[-layerN]-POOLING-HEAD[-...]; layers as 3-4, or all
data=data/$(basename "$recipe")
upstream_name=$(basename "${upstream//:/-}")
layer_name() { [[ $1 == last ]] || echo "-layer${1// /-}"; }
perturbed=${speed_perturb:+-sp${speed_perturb// /-}}
feats=feats/$upstream_name$(layer_name "$layer")$perturbed
[[ $use_layer == all ]] && trained=$layer || trained=$use_layer
experiment=$expdir/$upstream_name$(layer_name "$trained")-$pooling-$head
[[ $head-$combine == @(linear-concat|mlp-sum) ]] || experiment+=-$combine
[[ $preset == default ]] || experiment+=-$preset
experiment+=$perturbed
[[ $recentre == none ]] || experiment+=-recentred
[[ $enrol == all ]] || experiment+=-enrol$enrol
experiment+=${tag:+-$tag}

"$SOCTK_ROOT/bin/setup" "${extras[@]}"
mapfile -t -d '' extract_more < <(words_of extract_args); wait $! || exit
mapfile -t -d '' train_more < <(words_of train_args); wait $! || exit
cd "$recipe"
