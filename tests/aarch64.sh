#!/bin/bash
# Builds the library for aarch64 on a Debian 12 of another architecture and runs the table of operations under qemu.
#   tests/aarch64.sh [GOOGLETEST OPTION…]      all of it, or for instance --gtest_filter='*Values*'
# Everything is kept in build-aarch64. The libraries for aarch64 are unpacked there, not installed.
set -euo pipefail
cd "$(dirname "$0")/.."

build=$PWD/build-aarch64
packages=(g++-aarch64-linux-gnu qemu-user meson ninja-build pkg-config)
libraries=(libhwy-dev:arm64 libhwy1:arm64 zlib1g-dev:arm64 libgtest-dev:arm64 nlohmann-json3-dev libboost1.74-dev:arm64)

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  echo "Needs packages that are missing here: apt-get install --no-install-recommends ${missing[*]}"
  exit 1
fi
echo "On two cores about 5 minutes to build, the first time, and 9 to run all tests."

# apt's own folders know one architecture, and changing that takes root: these lists and archives are the script's own.
unpack_libraries() {
  mkdir -p "$build"/apt/{lists,archives}/partial
  local apt=(apt-get -q -o "Dir::State::Lists=$build/apt/lists" -o "Dir::Cache=$build/apt"
             -o APT::Architectures::=arm64 -o APT::Sandbox::User=root)
  "${apt[@]}" update
  (cd "$build/apt/archives" && "${apt[@]}" download "${libraries[@]}")
  for archive in "$build"/apt/archives/*.deb; do dpkg -x "$archive" "$build/root.part"; done
  mv "$build/root.part" "$build/root"
}

configure() {
  cat > "$build/cross.ini" <<END
[constants]
root = '$build/root/usr'
[binaries]
cpp = 'aarch64-linux-gnu-g++'
ar = 'aarch64-linux-gnu-ar'
strip = 'aarch64-linux-gnu-strip'
pkgconfig = 'pkg-config'
exe_wrapper = ['qemu-aarch64', '-L', '/usr/aarch64-linux-gnu']
[built-in options]
# g++ 12 for aarch64 alone warns of an empty std::optional, and notes how a pair of long doubles is passed.
cpp_args = ['-Wno-maybe-uninitialized', '-Wno-psabi']
cpp_link_args = ['-Wl,-rpath,' + root / 'lib/aarch64-linux-gnu']
[properties]
sys_root = '$build/root'
boost_includedir = root / 'include'
boost_librarydir = root / 'lib/aarch64-linux-gnu'
pkg_config_libdir = root / 'lib/aarch64-linux-gnu/pkgconfig:' + root / 'share/pkgconfig'
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
END
  meson setup "$build" --cross-file "$build/cross.ini" -Donnx=disabled -Dlapack=disabled -Dcuda=disabled \
    -Dprogram=disabled -Dbench=disabled
}

[ -d "$build/root" ] || unpack_libraries
[ -f "$build/build.ninja" ] || configure
ninja -C "$build" tests/op_table_test
MOLLIFY_SOURCE_DIR=$PWD qemu-aarch64 -L /usr/aarch64-linux-gnu "$build/tests/op_table_test" --gtest_brief=1 "$@"
