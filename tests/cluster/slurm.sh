#!/usr/bin/env bash
# Run egs/mini as jobs of a real Slurm, and cancel a job on the way: the result must be that of a run on this machine.
#
#   tests/cluster/slurm.sh [DIR]     DIR: an empty folder for the daemons, the recipe's copy and the logs
#
# Starts munged, slurmctld and slurmd (Debian: apt install slurm-wlm munge) for one node, this machine, and stops them.
# Needs root. Exits with 77 and a reason if Slurm cannot run here.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(realpath "${1:-$(mktemp -d)}")

skip() { echo "slurm.sh: skipped: $1" >&2; exit 77; }
[[ $(id -u) == 0 ]] || skip "starting Slurm's daemons needs root"
for program in munged slurmctld slurmd sbatch scancel; do
    command -v "$program" > /dev/null || skip "no $program (Debian: apt install slurm-wlm munge)"
done

mkdir -p "$work"/{munge,state,spool}
chmod 755 "$work"
chmod 700 "$work/munge"
export SLURM_CONF="$work/slurm.conf"
cat > "$SLURM_CONF" <<END
ClusterName=soctk
SlurmctldHost=$(hostname -s)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge/socket
CredType=cred/munge
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
SlurmctldPort=26817
SlurmdPort=26818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
NodeName=$(hostname -s) CPUs=2 RealMemory=$(($(grep MemTotal /proc/meminfo | tr -dc 0-9) / 1200)) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
END

stop() {
    scancel --user root > /dev/null 2>&1 || true
    for daemon in slurmd slurmctld munged; do
        [[ ! -f $work/$daemon.pid ]] || kill "$(< "$work/$daemon.pid")" 2> /dev/null || true
    done
}
trap stop EXIT

head -c 1024 /dev/urandom > "$work/munge/key"
chmod 600 "$work/munge/key"
munged --force --key-file="$work/munge/key" --socket="$work/munge/socket" --pid-file="$work/munged.pid" \
    --log-file="$work/munge/log" --seed-file="$work/munge/seed" || skip "munged does not start: $work/munge/log"
slurmctld || skip "slurmctld does not start: $work/slurmctld.log"
slurmd || skip "slurmd does not start: $work/slurmd.log"
for _ in {1..30}; do
    [[ $(sinfo --noheader --format=%T 2> /dev/null) != idle ]] || break
    sleep 1
done
[[ $(sinfo --noheader --format=%T 2> /dev/null) == idle ]] || skip "the node is not idle: $work/slurmd.log"

for copy in local slurm; do
    mkdir "$work/$copy"
    cp -r "$root/egs/mini" "$work/$copy"
    rm -rf "$work/$copy/mini"/{data,feats,exp}
    sed -i "s|^SOCTK_ROOT=.*|SOCTK_ROOT='$root'|" "$work/$copy/mini/path.sh"
done

cancel_a_job() {  # as soon as a file of this pattern exists: the log of a worker that trains
    local id
    for _ in {1..600}; do
        if compgen -G "$1" > /dev/null; then
            id=$(squeue --noheader --states=running --format=%i | head -n 1)
            [[ -z $id ]] || { scancel "$id"; echo "slurm.sh: cancelled job $id" >&2; return; }
        fi
        sleep 0.2
    done
}

"$work/local/mini/run.sh"
cancel_a_job "$work/slurm/mini/exp/*/log/dask-worker-*.err" &
"$work/slurm/mini/run.sh" --cluster "$root/conf/cluster/slurm.yaml"
wait "$!"

diff -rq "$work/local/mini" "$work/slurm/mini" --exclude log --exclude wav.scp --exclude report.html
echo "slurm.sh: features, models, predictions and scores are those of a run on this machine"
