"""The program mollify: python -m mollify train …"""

import os
import pathlib
import sys


def main() -> None:
    """Becomes the program, which is beside this file."""
    program = pathlib.Path(__file__).with_name("mollify")
    if not program.exists():
        sys.exit("mollify: this package was built without the program; needs -Dprogram=enabled (CLI11, nlohmann-json)")
    os.execv(program, ["mollify", *sys.argv[1:]])


if __name__ == "__main__":
    main()
