#!/bin/bash
# Packs what bench/gpu_session.sh needs on a bare machine with a GPU: stripped programs, the libraries that such a machine lacks, and the
# scripts, in one folder of at most 40 MiB.
#   bench/pack_gpu.sh OUT [BUILD]     (BUILD: configured where it is not there; build-gpu)
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1" && out=$(cd "$1" && pwd) && build=${2:-$root/build-gpu}
programs=(experiments/mollify bench/mollify_bench)
for suite in op_table cuda_products engine nn bounds smoothing; do programs+=("tests/${suite}_test"); done

# Without ONNX, whose libraries are large and are not on the machine.
[ -f "$build/build.ninja" ] || meson setup "$build" "$root" -Dcuda=enabled -Donnx=disabled -Dlapack=disabled -Dbench=enabled -Dtests=enabled
ninja -C "$build" "${programs[@]}"

files=("${programs[@]/#/$build/}")
install -m 755 "${files[@]}" "$out/"
for file in "${files[@]}"; do strip "$out/$(basename "$file")"; done
# Under the names that the programs ask for. What is left out, such as libstdc++ and libz, every such machine has, and other programs use.
ldd "${files[@]}" | awk '$1 ~ /^lib(mollify|hwy|benchmark|gtest|quadmath|turbojpeg)/ && $3 ~ /^\// {print $1, $3}' | sort -u |
  while read -r name path; do
    install -m 644 "$path" "$out/$name"
    strip "$out/$name"
  done
install -m 755 "$root"/bench/gpu_session.sh "$out/"
install -m 644 "$root"/bench/{compare,compare_gpu,torch_side,torch_models,lirpa_side}.py "$out/"

missing=$(for file in "${files[@]}"; do LD_LIBRARY_PATH=$out ldd "$out/$(basename "$file")"; done | grep 'not found' | sort -u || true)
[ -z "$missing" ] || { printf 'pack_gpu: libraries are missing:\n%s\n' "$missing" >&2; exit 1; }

bytes=$(du -sb "$out" | cut -f1)
printf '%s: %d files, %.1f MiB\n' "$out" "$(find "$out" -type f | wc -l)" "$(awk "BEGIN {print $bytes / 1048576}")"
[ "$bytes" -le $((40 << 20)) ] || { echo "pack_gpu: more than 40 MiB" >&2; exit 1; }
