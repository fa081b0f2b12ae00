# Sourced by every recipe's run.sh after its options: parses the command line and names what the stages read and write.
#
# A recipe's options are the assignments between its lines "# Options" and "# End of options", as
#     name=default   # what it is
# An option is given as `--name value` or `--name=value`, with - or _ within the name.
# shellcheck shell=bash

log() { echo "$(date '+%H:%M:%S') $*"; }

# run_stage N WHAT: whether stage N was asked for; says so if it was.
run_stage() {
    ((stage <= $1 && $1 <= stop_stage)) || return 1
    log "Stage $1: $2"
}

die_of_usage() {
    echo "${0##*/}: $1" >&2
    usage >&2
    exit 2
}

usage() {
    echo "Usage: ${0##*/} [--OPTION VALUE ...]"
    local name
    for name in "${option_names[@]}"; do
        printf '  --%-12s %s (default: %s)\n' "${name//_/-}" "${option_help[$name]}" "${option_default[$name]:-none}"
    done
}

option_names=()
declare -A option_help=() option_default=()
while IFS= read -r line; do
    if [[ $line =~ ^([a-z_]+)=.*#\ (.*)$ ]]; then
        name=${BASH_REMATCH[1]}
        option_names+=("$name")
        option_help[$name]=${BASH_REMATCH[2]}
        option_default[$name]=${!name}
    fi
done < <(sed -n '/^# Options/,/^# End of options/p' "$0")

while (($#)); do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --*=*) name=${1%%=*} value=${1#*=}; shift ;;
        --*) (($# > 1)) || die_of_usage "$1 needs a value"; name=$1 value=$2; shift 2 ;;
        *) die_of_usage "'$1' is not an option" ;;
    esac
    option=$name
    name=${name#--}
    name=${name//-/_}
    [[ -v option_help[$name] ]] || die_of_usage "unknown option '$option'"
    # The recipe runs in its own directory; a relative path was meant from the caller's.
    case $name in
        corpus | expdir) [[ -z $value || $value == /* ]] || value=$PWD/$value ;;
        upstream) [[ ! -d $value ]] || value=$(cd "$value" && pwd) ;;
    esac
    printf -v "$name" '%s' "$value"
done
[[ $stage =~ ^[0-3]$ && $stop_stage =~ ^[0-3]$ ]] || die_of_usage "stages are 0, 1, 2 and 3"

# feats/UPSTREAM[-layerN] and exp/UPSTREAM[-layerN]-POOLING[-TAG]
name=$(basename "$upstream")
[[ $layer == last ]] || name+=-layer$layer
feats=feats/$name
experiment=$expdir/$name-$pooling${tag:+-$tag}
