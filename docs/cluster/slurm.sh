#!/bin/bash
# SLURM for real on one machine: two dask workers as SLURM tasks, one of them killed, and the tables
# beside those of a serial run.  As root, on Debian:
#
#   apt-get install slurmctld slurmd munge && pip install -e ".[dask]" && docs/cluster/slurm.sh
#
# The daemons keep everything in a new folder, on ports of their own, and are ended afterwards.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
ended() {
  scancel --me 2>/dev/null && sleep 5
  kill $(cat "$work"/*.pid 2>/dev/null) 2>/dev/null || true
  [ -z "${scheduler:-}" ] || kill "$scheduler" 2>/dev/null || true
}
trap ended EXIT
say() { echo "$(date -u +%H:%M:%S) $*"; }

# --- one node, two tasks on it ---------------------------------------------------------------------
# Two tasks share this machine's processors: SLURM is told of two, whatever there are.
cat >"$work/slurm.conf" <<CONF
ClusterName=loopback
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SlurmdParameters=config_overrides
ReturnToService=2
MailProg=/bin/true
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=2 RealMemory=2000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$work/slurm.conf
mkdir -p "$work/state" "$work/spool"
dd if=/dev/urandom of="$work/munge.key" bs=1024 count=1 status=none
chmod 600 "$work/munge.key"
munged --force --socket="$work/munge.socket" --key-file="$work/munge.key" \
  --log-file="$work/munge.log" --pid-file="$work/munge.pid" --seed-file="$work/munge.seed"
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF" -N "$(hostname -s)"
for _ in $(seq 120); do
  sinfo --noheader --format=%T 2>/dev/null | grep -q idle && break
  sleep 1
done
say "$(slurmctld -V), node: $(sinfo --noheader --format='%N %T %c processors')"

# --- a serial run, then the same through SLURM -----------------------------------------------------
cd "$root"
export OMP_NUM_THREADS=1 PYTHONPATH=$root
python -m tests.bench.drive "$work/serial" 1 2>/dev/null
say "serial run done"
python -m distributed.cli.dask_scheduler --host 127.0.0.1 --port 0 --no-dashboard \
  --scheduler-file "$work/scheduler.json" 2>"$work/scheduler.log" &
scheduler=$!
until [ -s "$work/scheduler.json" ]; do sleep 0.2; done
sbatch --ntasks=2 --output="$work/job.log" <<JOB
#!/bin/bash
srun python -m distributed.cli.dask_worker --host 127.0.0.1 --nthreads 1 --no-dashboard \
  --no-nanny --scheduler-file "$work/scheduler.json" --local-directory "$work"
JOB
address=$(python -c "import json; print(json.load(open('$work/scheduler.json'))['address'])")
mkdir -p "$work/slurm/orders" && touch "$work/slurm/orders/slow"
python -m tests.bench.drive "$work/slurm" 2 dask "$address" 2>"$work/drive.log" &
drive=$!
until [ "$(cat "$work/slurm/log" 2>/dev/null | wc -l)" -ge 25 ]; do sleep 0.1; done
say "queue: $(squeue --noheader --format='job %i %T, %C processors on %N')"
steps=$(scontrol listpids 2>/dev/null | awk 'NR > 1 && $1 > 0 {print $1}')
for pid in $steps; do
  if ls -l "/proc/$pid/fd" 2>/dev/null | grep -q "$work/slurm/.*jsonl"; then victim=$pid; fi
done
say "killing worker $victim, a process of SLURM's job, in the middle of its work"
kill -9 "$victim"
wait $drive
say "run through SLURM done"

# --- bit for bit? ----------------------------------------------------------------------------------
for table in attack calibration; do
  cmp "$work"/serial/*/$table.parquet "$work"/slurm/*/$table.parquet
  say "$table: $(sha256sum <"$(echo "$work"/slurm/*/$table.parquet)" | cut -c1-16), as in the serial run"
done
say "job 1 $(scontrol show job 1 | grep -o 'JobState=[A-Z]*') with the other worker"
