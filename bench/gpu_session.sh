#!/bin/bash
# What to run first on a machine with a GPU: tests, compute-sanitizer and the quick comparison with PyTorch, within 9 minutes.
#   bench/gpu_session.sh LOGS BUILD [SECONDS [OPTION…]]     (OPTION: of compare.py, in place of --device cuda --quick)
# BUILD holds the programs of a build (mollify, *_test, mollify_bench), in its folders or in one; what is missing is passed over. A
# libbenchmark.so.1 beside them is found. LOGS gets summary.txt, tests.log, sanitizer.log, comparison.txt and comparison.json. Python
# with PyTorch is $PYTHON (python3); without it the comparison has one side. Of the sources it needs this folder only.
set -uo pipefail
[ $# -ge 2 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }
logs=$1 build=$2 total=${3:-525}
shift $(($# < 3 ? $# : 3))
options=("$@")
[ $# -gt 0 ] || options=(--device cuda --quick)
bench=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$logs" && logs=$(cd "$logs" && pwd) && build=$(cd "$build" && pwd) || exit 2
: >"$logs/summary.txt" >"$logs/tests.log" >"$logs/sanitizer.log"
libraries=$(find -L "$build" -name 'lib*.so*' -printf '%h\n' | sort -u | paste -sd:)
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
failed=0

program() { find -L "$build" -type f -name "$1" -perm -u+x | head -n 1; }
say() { printf '%4d s  %s\n' "$SECONDS" "$*" | tee -a "$logs/summary.txt"; }

# part NAME LIMIT LOG COMMAND…: the command's output goes to the log, its outcome and its last words to the summary.
part() {
  local name=$1 limit=$2 log=$3 left=$((total - SECONDS)) status output
  shift 3
  [ "$limit" -lt "$left" ] || limit=$left
  [ "$limit" -gt 3 ] || { say "$name: no time left"; return; }
  [ -n "$1" ] || { say "$name: there is no program for it"; return; }
  output=$(mktemp)
  timeout -k 5 "$limit" "$@" >"$output" 2>&1
  status=$?
  { echo "== $name: $*"; cat "$output"; } >>"$logs/$log"
  case $status in
    0) say "$name: well; $(grep -E 'PASSED|ERROR SUMMARY|RACECHECK SUMMARY|GPU  ' "$output" | tail -n 1 | cut -c1-120)" ;;
    124 | 137) say "$name: not done in $limit s"; failed=1 ;;
    *) say "$name: FAILED with $status"; grep -E '^\[  FAILED|========= (Invalid|Error|Uninit|Race)|rror' "$output" | sort -u | head -n 12 |
         cut -c1-160 | tee -a "$logs/summary.txt"; failed=1 ;;
  esac
  rm -f "$output"
}

part info 15 summary.txt "$(program mollify)" info

# Tests of CUDA and of captured steps; AutoLirpa's read a file of the source tree.
cuda_tests='*uda*:*Captured*-*AutoLirpa*'
for suite in op_table:70 cuda_products:50 engine:20 nn:40 bounds:45 smoothing:30; do
  part "${suite%:*}_test" "${suite#*:}" tests.log "$(program "${suite%:*}_test")" "--gtest_filter=$cuda_tests" --gtest_brief=1
done

# The sanitizer slows kernels down by tens: values of every operation for memcheck and initcheck, those that share memory for racecheck.
sanitizer=$(command -v compute-sanitizer || ls -d /usr/local/cuda*/bin/compute-sanitizer /opt/nvidia/*/*/compute-sanitizer 2>/dev/null | head -n 1)
sharing=
for row in sum max logsumexp argmax cumsum sort top_k matmul dense conv2d transpose softmax cross_entropy batch_norm scatter_add; do
  sharing+="${sharing:+:}Row/OnCuda.ValuesAreTheReference/${row}_*"
done
op_table=$(program op_table_test)
for check in "memcheck 40 Row/OnCuda.ValuesAreTheReference/*" "racecheck 35 $sharing" "initcheck 35 Row/OnCuda.ValuesAreTheReference/*"; do
  read -r tool limit filter <<<"$check"
  part "$tool" "$limit" sanitizer.log "${sanitizer:+${op_table:+$sanitizer}}" \
    --tool "$tool" --error-exitcode 9 --print-limit 20 "$op_table" "--gtest_filter=$filter" --gtest_brief=1
done

# All the time that is left.
left=$((total - SECONDS))
part comparison "$left" comparison.txt "${PYTHON:-python3}" "$bench/compare.py" "${options[@]}" \
  --minutes "$(awk "BEGIN {print ($left - 8) / 60}")" \
  --json "$logs/comparison.json" --bench "$(program mollify_bench)" --python "${PYTHON:-python3}"
grep '^|' "$logs/comparison.txt"
exit $failed
