#!/bin/sh
# Builds program.cc in an empty folder: against an installed copy of the library through pkg-config, and the examples
# with it, and CMake; against static libraries likewise; then with the source tree as a Meson subproject. The library is
# not compiled again.   usage: test.sh SOURCE_DIR BUILD_DIR
set -eu
source=$1 build=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "== pkg-config"
DESTDIR="$work/root" meson install -C "$build" --no-rebuild --quiet
pc=$(dirname "$(find "$work/root" -name mollify.pc)")
libdir=$(dirname "$pc")
export PKG_CONFIG_PATH="$pc"
prefix=$(dirname "$(dirname "$(dirname "$(find "$work/root" -name mollify.h)")")")
if grep -q pcfiledir "$pc/mollify.pc"; then  # relocatable, as builds are that were set up with the project's options
  [ "$(realpath "$(pkg-config --variable=prefix mollify)")" = "$prefix" ] || { echo "mollify.pc is not relocatable"; exit 1; }
fi
flags_of() { pkg-config --define-variable=prefix="$prefix" --cflags --libs "$@"; }
flags=$(flags_of mollify)
compile() {  # SOURCE OUT FLAGS
  ${CXX:-c++} -std=c++20 "$1" -o "$2" $3 ${MOLLIFY_SANITIZE:-}
}
compile "$source/tests/install/program.cc" "$work/installed" "$flags"
LD_LIBRARY_PATH="$libdir" "$work/installed"
for example in "$source"/examples/*.cc; do
  name=$(basename "$example" .cc)
  [ "$name" != lanczos ] || grep -q openblas "$pc/mollify.pc" || continue
  compile "$example" "$work/$name" "$flags"
  LD_LIBRARY_PATH="$libdir" "$work/$name" "$work/$name.file" > "$work/log" ||
    { cat "$work/log"; echo "$name fails"; exit 1; }
done

echo "== the README's ten lines"
sed -n '/^```cpp$/,/^```$/p' "$source/README.md" | sed '/^```/d' > "$work/readme.cc"
compile "$work/readme.cc" "$work/readme" "$flags"
LD_LIBRARY_PATH="$libdir" "$work/readme"

case "$flags" in *hwy*|*jpeg*|*protobuf*) echo "pkg-config links what the shared library hides: $flags"; exit 1 ;; esac

echo "== the reader of ONNX files, which alone loads protobuf"
compile "$source/tests/install/onnx.cc" "$work/onnx" "$(flags_of mollify-onnx)"
LD_LIBRARY_PATH="$libdir" "$work/onnx"
if readelf -d "$libdir/libmollify.so" | grep -i 'protobuf\|onnx'; then echo "libmollify.so needs protobuf"; exit 1; fi

echo "== the program, moved with its prefix"
program=$(find "$work/root" -type f -name mollify -perm -u+x)
[ -z "$program" ] || "$program" --version

# cmake_build SOURCE TARGET CONFIG_DIR OUT: a project of one program against an installed copy.
cmake_build() {
  mkdir "$4"
  printf 'cmake_minimum_required(VERSION 3.17)\nproject(outside CXX)\nfind_package(mollify 0.1 REQUIRED)\nadd_executable(outside %s)\ntarget_link_libraries(outside %s)\n' "$1" "$2" > "$4/CMakeLists.txt"
  { cmake -S "$4" -B "$4/build" -Dmollify_DIR="$3" && cmake --build "$4/build"; } > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
}
echo "== CMake"
if command -v cmake > /dev/null; then
  cmake_build "$source/tests/install/program.cc" mollify::mollify "$libdir/cmake/mollify" "$work/cmake"
  LD_LIBRARY_PATH="$libdir" "$work/cmake/build/outside"
else
  echo "skipped: there is no cmake here"
fi

echo "== static libraries, of the objects that this build has compiled"
# static_copy NAME: an archive where a static build would have it.
static_copy() { ar rcs "$work/static/lib$1.a" "$build/lib$1".*.p/*.o; }
same_options=$(meson introspect --buildoptions "$build" | python3 -c '
import json, sys
kept = ("cuda", "gpu_arch", "gpu_emulation", "jpeg", "lapack", "onnx")
print(*("-D" + o["name"] + "=" + str(o["value"]).lower() for o in json.load(sys.stdin) if o["name"] in kept))')
meson setup "$work/static" "$source" -Ddefault_library=static -Dprogram=disabled -Dtests=disabled -Dbench=disabled \
  $same_options > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
static_copy mollify
static_copy mollify-onnx
DESTDIR="$work/static_root" meson install -C "$work/static" --no-rebuild --quiet
pc=$(dirname "$(find "$work/static_root" -name mollify.pc)")
export PKG_CONFIG_PATH="$pc"
prefix=$(dirname "$(dirname "$(dirname "$(find "$work/static_root" -name mollify.h)")")")
if nvcc=$(command -v nvcc); then export LIBRARY_PATH="$(dirname "$nvcc")/../lib64"; fi  # for a build with CUDA
# OpenBLAS's own libraries, of which --static tells, are Fortran's, which need not be here.
static=--static
echo 'int main() {}' | ${CXX:-c++} -xc++ - -lgfortran -o "$work/probe" 2> "$work/log" || static=
compile "$source/tests/install/program.cc" "$work/installed_static" "$(flags_of $static mollify)"
"$work/installed_static"
compile "$source/tests/install/onnx.cc" "$work/onnx_static" "$(flags_of $static mollify-onnx)"
"$work/onnx_static"
if readelf -d "$work/onnx_static" | grep 'libmollify'; then echo "the static program needs the shared library"; exit 1; fi
if command -v cmake > /dev/null; then
  cmake_build "$source/tests/install/onnx.cc" mollify::onnx "$(dirname "$pc")/cmake/mollify" "$work/cmake_static"
  "$work/cmake_static/build/outside"
fi
unset LIBRARY_PATH

echo "== mollify.h has every header that is installed"
echo '#include <mollify/mollify.h>' > "$work/all.cc"
${CXX:-c++} -std=c++20 -M "$work/all.cc" $flags > "$work/all.d"
find "$work/root" -name '*.h' | while read -r header; do
  grep -q "${header#"$work/root"}" "$work/all.d" || { echo "mollify.h lacks ${header#*include/}"; exit 1; }
done

echo "== subproject: it is configured, its headers are found, and the program waits for the library"
mkdir -p "$work/outside/subprojects"
cp "$source/tests/install/program.cc" "$source/tests/install/meson.build" "$work/outside/"
ln -s "$source" "$work/outside/subprojects/mollify"
unset PKG_CONFIG_PATH
meson setup "$work/outside/build" "$work/outside" --wrap-mode=forcefallback --buildtype=debug > "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
ninja -C "$work/outside/build" outside.p/program.cc.o > "$work/log" 2>&1 || { tail -40 "$work/log"; exit 1; }
ninja -C "$work/outside/build" -t query outside | grep -q 'subprojects/mollify/libmollify.so' || { echo "the program does not link the subproject's library"; exit 1; }
