#!/usr/bin/env python3
"""Compiles, syntax only, for other machines and with other compilers; names what is missing for it and goes on.

  tests/portability.py          the SIMD files for aarch64, the other files of library and program with clang and libc++
  tests/portability.py --all    the SIMD files for aarch64, every file with clang and with clang and libc++
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Highway's headers are the same on aarch64; all others there are the cross compiler's, which come first. The targets that
# are left out there stand in meson.build.
TARGETS = re.search(r"-DHWY_DISABLED_TARGETS=[^']+", (ROOT / "meson.build").read_text())[0]
AARCH64 = ["aarch64-linux-gnu-g++", "-idirafter", "/usr/include", TARGETS]
CLANG = ["clang++", "-Wno-unknown-warning-option"]
LIBCXX = [*CLANG, "-stdlib=libc++"]


def commands(build):
    """Each file of library and program with the flags that Meson compiles it with."""
    options = ["-Dcuda=disabled", "-Dtests=disabled", "-Dbench=disabled"]
    subprocess.run(["meson", "setup", build, ROOT, *options], check=True, stdout=subprocess.DEVNULL)
    for entry in json.loads(pathlib.Path(build, "compile_commands.json").read_text()):
        words = shlex.split(entry["command"])
        first = next(i for i, word in enumerate(words) if word.startswith("-"))
        yield pathlib.Path(build, entry["file"]), words[first : words.index("-MD")]


def installed(compiler):
    try:
        probe = [*compiler, "-fsyntax-only", "-xc++", "-"]
        return subprocess.run(probe, input="#include <vector>\n", text=True, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def main():
    everything = sys.argv[1:] == ["--all"]
    if sys.argv[1:] and not everything:
        sys.exit(__doc__)
    with tempfile.TemporaryDirectory() as build, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        files = list(commands(build))
        simd = [file for file in files if "<hwy/foreach_target.h>" in file[0].read_text()]
        others = [file for file in files if file not in simd]

        def failure(compiler, file):
            run = [*compiler, *file[1], "-fsyntax-only", file[0]]
            result = subprocess.run(run, cwd=build, text=True, capture_output=True)
            return result.stderr if result.returncode else None

        failed = False
        for name, compiler, packages, these in [
            ("for aarch64", AARCH64, "g++-aarch64-linux-gnu", simd),
            ("with clang", CLANG, "clang", files if everything else []),
            ("with clang and libc++", LIBCXX, "clang libc++-dev", files if everything else others),
        ]:
            if these and not installed(compiler):
                print(f"{name}: skipped; needs {packages}")
            elif these:
                failures = list(filter(None, pool.map(lambda file: failure(compiler, file), these)))
                print(f"{name}: {len(these) - len(failures)} of {len(these)} files compile", *failures, sep="\n", flush=True)
                failed = failed or bool(failures)
    sys.exit(failed)


main()
