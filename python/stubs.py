"""Writes the stubs of mollify._core into OUT_DIR/_core: stubs.py CORE_MODULE LIBRARY SOURCE_DIR OUT_DIR."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

core, library, source, out = (pathlib.Path(argument).resolve() for argument in sys.argv[1:])
shutil.rmtree(out / "_core", ignore_errors=True)
with tempfile.TemporaryDirectory() as folder:
    package = pathlib.Path(folder) / "mollify"
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(core, package)
    command = [sys.executable, "-m", "nanobind.stubgen", "-q", "-r", "-i", folder, "-m", "mollify._core", "-O", str(out)]
    subprocess.run(command, check=True, env={**os.environ, "LD_LIBRARY_PATH": str(library.parent)})
