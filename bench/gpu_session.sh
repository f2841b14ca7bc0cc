#!/bin/bash
# What to run on a machine with a GPU, in two parts of at most 4 minutes: tests with compute-sanitizer, and the comparison with PyTorch.
#   gpu_session.sh tests|comparison LOGS [PROGRAMS [SECONDS [OPTION…]]]     (OPTION: of compare.py, in place of --device cuda --quick)
# PROGRAMS (by default this folder) holds what bench/pack_gpu.sh packed, or is a build's folder. LOGS gets summary.txt and a few files of at
# most 1 MiB. Python with PyTorch is $PYTHON (python3). It ends at once where there is no GPU, and fails where a program is missing.
set -uo pipefail
[ $# -ge 2 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
what=$1 logs=$2 programs=${3:-$here} total=${4:-240}
shift $(($# < 4 ? $# : 4))
options=("$@")
[ $# -gt 0 ] || options=(--device cuda --quick)
mkdir -p "$logs" && logs=$(cd "$logs" && pwd) && programs=$(cd "$programs" && pwd) || exit 2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

say() { printf '%4d s  %s\n' "$SECONDS" "$*" | tee -a "$logs/summary.txt"; }

# Programs run with the libraries beside them; PyTorch must not see those.
libraries=$(find -L "$programs" -name 'lib*.so*' -printf '%h\n' | sort -u | paste -sd:)
program() {
  local file
  file=$(find -L "$programs" -type f -name "$1" -perm -u+x | head -n 1)
  if [ -z "$file" ]; then say "$1: is missing"; failed=1; return 1; fi
  printf '#!/bin/sh\nLD_LIBRARY_PATH="%s${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "%s" "$@"\n' "$libraries" "$file" >"$work/$1"
  chmod +x "$work/$1"
}

# keep LOG: adds what comes to the log, of which the first MiB is kept.
keep() { { cat "$logs/$1" 2>/dev/null; cat; } | head -c 1048576 >"$work/kept" && mv "$work/kept" "$logs/$1"; }

# part NAME LIMIT LOG COMMAND…: the command's output goes to the log, its outcome and its last words to the summary.
part() {
  local name=$1 limit=$2 log=$3 left=$((total - SECONDS)) status output
  shift 3
  [ "$limit" -lt "$left" ] || limit=$left
  [ "$limit" -gt 3 ] || { say "$name: no time left"; failed=1; return 1; }
  output=$work/${name//[ \/]/_}  # names of rows have slashes
  timeout -k 5 "$limit" "$@" >"$output" 2>&1
  status=$?
  { echo "== $name: $*"; cat "$output"; } | keep "$log"
  case $status in
    0) say "$name: well; $(grep -E 'PASSED|ERROR SUMMARY|RACECHECK SUMMARY|GPU  ' "$output" | tail -n 1 | cut -c1-120)" ;;
    124 | 137) say "$name: not done in $limit s"; failed=1 ;;
    *) say "$name: FAILED with $status"; grep -E '^\[  FAILED|========= (Invalid|Error|Uninit|Race)|rror' "$output" | sort -u | head -n 12 |
         cut -c1-160 | tee -a "$logs/summary.txt"; failed=1 ;;
  esac
  return $status
}

: >"$logs/summary.txt"
program mollify || exit 1
part info 20 summary.txt "$work/mollify" info
if ! grep '^GPU  ' "$work/info" | grep -qv 'none:'; then say "no GPU: nothing to do"; exit 1; fi

# The table of operations in four processes; of each the first failing row once more alone, launch by launch.
op_table() {
  local filter=$1 limit=$2 shard pids=() failing
  for shard in 0 1 2 3; do
    (GTEST_TOTAL_SHARDS=4 GTEST_SHARD_INDEX=$shard part "op_table $shard" "$limit" "op_table_$shard.log" "$work/op_table_test" \
      "--gtest_filter=$filter" --gtest_brief=1 --gtest_fail_fast) &
    pids+=($!)
  done
  for shard in 0 1 2 3; do
    wait "${pids[$shard]}" && continue
    failed=1
    failing=$(grep -o '^\[  FAILED  \] [^ ,]*' "$logs/op_table_$shard.log" | head -n 1 | cut -c14-)
    [ -z "$failing" ] || CUDA_LAUNCH_BLOCKING=1 part "$failing" 30 "op_table_$shard.log" "$work/op_table_test" "--gtest_filter=$failing"
  done
  cat "$logs"/op_table_?.log 2>/dev/null | keep tests.log
  rm -f "$logs"/op_table_?.log
}

# The sanitizer slows kernels down by tens: values of every operation for memcheck, those that share memory for racecheck. Blocks that are
# freed go back to the device, so that their late use shows.
sanitize() {
  local sanitizer sharing= row
  sanitizer=$(command -v compute-sanitizer || ls -d /usr/local/cuda*/bin/compute-sanitizer /opt/nvidia/*/*/compute-sanitizer 2>/dev/null | head -n 1)
  [ -n "$sanitizer" ] || { say "compute-sanitizer: is not on this machine"; return; }
  for row in sum max logsumexp argmax cumsum sort top_k matmul dense conv2d transpose softmax cross_entropy batch_norm scatter_add; do
    sharing+="${sharing:+:}Row/OnCuda.ValuesAreTheReference/${row}_*"
  done
  MOLLIFY_CUDA_CACHE=0 part memcheck 60 sanitizer.log "$sanitizer" --tool memcheck --error-exitcode 9 --print-limit 20 \
    "$work/op_table_test" '--gtest_filter=Row/OnCuda.ValuesAreTheReference/*' --gtest_brief=1
  part racecheck 45 sanitizer.log "$sanitizer" --tool racecheck --error-exitcode 9 --print-limit 20 \
    "$work/op_table_test" "--gtest_filter=$sharing" --gtest_brief=1
}

tests() {
  local suite
  for suite in op_table cuda_products engine nn bounds smoothing; do program "${suite}_test" || return 1; done
  op_table '*uda*:*Captured*' 60
  for suite in cuda_products:30 engine:20 nn:20 bounds:25 smoothing:20; do  # AutoLirpa's read a file of the source tree
    part "${suite%:*}" "${suite#*:}" tests.log "$work/${suite%:*}_test" '--gtest_filter=*uda*:*Captured*-*AutoLirpa*' --gtest_brief=1
  done
  sanitize
}

comparison() {
  program mollify_bench || return 1
  local left=$((total - SECONDS))
  part comparison "$left" comparison.txt "${PYTHON:-python3}" "$here/compare.py" "${options[@]}" \
    --minutes "$(awk "BEGIN {print ($left - 8) / 60}")" --json "$logs/comparison.json" --bench "$work/mollify_bench" --python "${PYTHON:-python3}"
  grep '^|' "$logs/comparison.txt"
}

case $what in
  tests | comparison) "$what" || failed=1 ;;
  *) echo "gpu_session: $what: needs tests or comparison" >&2; exit 2 ;;
esac
exit $failed
