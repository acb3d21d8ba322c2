#!/bin/bash
# Ray for real on one machine: two local workers, one of them killed in the middle, and the tables
# beside those of a serial run.
#
#   pip install -e ".[ray]" && docs/cluster/ray.sh
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
say() { echo "$(date -u +%H:%M:%S) $*"; }
cd "$root"
export OMP_NUM_THREADS=1 PYTHONPATH=$root

python -m tests.bench.drive "$work/serial" 1 2>/dev/null
say "serial run done, ray $(python -c 'from importlib.metadata import version; print(version("ray"))')"
mkdir -p "$work/ray/orders" && touch "$work/ray/orders/slow"
# What ray itself reports of the death, without the addresses it goes on with.
python -m tests.bench.drive "$work/ray" 2 ray 2>"$work/drive.log" > >(sed -uE "s/\x1b\[[0-9;]*m//g; s/(.{100}).+/\1 .../") &
drive=$!
until [ "$(cat "$work/ray/log" 2>/dev/null | wc -l)" -ge 25 ]; do
  kill -0 $drive || { cat "$work/drive.log"; exit 1; }
  sleep 0.1
done
for pid in $(pgrep -f '^ray::'); do
  if ls -l "/proc/$pid/fd" 2>/dev/null | grep -q "$work/ray/.*jsonl"; then victim=$pid; fi
done
say "killing worker $victim ($(tr '\0' ' ' <"/proc/$victim/cmdline" | cut -c1-40)) in the middle of its work"
kill -9 "$victim"
wait $drive
say "run over ray done, $(sort -u "$work/ray/log" | wc -l) units, $(wc -l <"$work/ray/log") begun"

for table in attack calibration; do
  cmp "$work"/serial/*/$table.parquet "$work"/ray/*/$table.parquet
  say "$table: $(sha256sum <"$(echo "$work"/ray/*/$table.parquet)" | cut -c1-16), as in the serial run"
done
