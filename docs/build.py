#!/usr/bin/env python3
"""Makes the site in BUILD/docs/html, which reads offline: python3 docs/build.py BUILD, or meson compile -C BUILD docs.

Needs Debian's doxygen, python3-sphinx, python3-myst-parser, python3-breathe and furo. Warnings are errors, broken links
within the site among them.
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
import headers

SOURCE = pathlib.Path(__file__).resolve().parent.parent

DOXYFILE = """PROJECT_NAME = mollify
INPUT = {source}
STRIP_FROM_PATH = {source}
RECURSIVE = YES
OUTPUT_DIRECTORY = {out}
GENERATE_HTML = NO
GENERATE_LATEX = NO
GENERATE_XML = YES
EXTRACT_ALL = YES
MARKDOWN_SUPPORT = NO
HAVE_DOT = NO
CLASS_GRAPH = NO
MACRO_EXPANSION = YES
SEARCH_INCLUDES = NO
PREDEFINED = MOLLIFY_HOST_DEVICE= MOLLIFY_FN=
QUIET = YES
WARN_AS_ERROR = YES
"""

FOLDERS = {
    "engine": "Tensors, operations, gradients",
    "nn": "Networks",
    "nn/bounds": "Bounds and verification",
    "nn/formats": "Files of other programs",
    "optim": "Optimisers",
    "smoothing": "Smoothing",
    "smoothing/loss": "Losses smoothed over weights",
    "smoothing/randomized": "Votes under noise",
    "smoothing/attacks": "Attacks",
    "datasets": "Datasets",
}


def installed_headers(build):
    listed = json.loads(subprocess.check_output(["meson", "introspect", "--installed", str(build)]))
    return sorted(path.split("/include/", 1)[1] for path in listed.values() if "/include/mollify/" in path)


def folder_of(header):
    return max((folder for folder in FOLDERS if header.startswith(f"mollify/{folder}/")), key=len, default=None)


def page_of(header, introduction):
    """A header's page: what it says at its top, how it is included, and its declarations."""
    text = "\n".join(headers.as_markdown(introduction))
    return (f"# {header.removeprefix('mollify/')}\n\n{text}\n\n```cpp\n#include <{header}>\n```\n\n"
            f"```{{doxygenfile}} {header}\n:sections: innernamespace innerclass func* typedef* enum* var* public* "
            "user-defined briefdescription detaileddescription\n```\n")


def write_reference(folder, introductions):
    """A page for each installed header, and one for each folder of them."""
    folder.mkdir(parents=True)
    lists = {name: [] for name in FOLDERS}
    for header, introduction in introductions.items():
        if folder_of(header) is None:
            continue  # mollify.h includes the others
        page = header.removeprefix("mollify/").removesuffix(".h").replace("/", "-")
        (folder / f"{page}.md").write_text(page_of(header, introduction))
        lists[folder_of(header)].append(page)
    index = "# Reference\n\nEvery installed header, folder by folder. `mollify/mollify.h` includes them all.\n\n"
    for name, title in FOLDERS.items():
        index += f"```{{toctree}}\n:caption: {title}\n:maxdepth: 1\n\n" + "\n".join(lists[name]) + "\n```\n\n"
    (folder / "index.md").write_text(index)


def main():
    build = pathlib.Path(sys.argv[1]).resolve()
    work = build / "docs"
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(SOURCE / "docs", work / "source", ignore=shutil.ignore_patterns("*.py", "*.cc", "meson.build"))
    shutil.copy(SOURCE / "docs" / "conf.py", work / "source")
    for folder in ("examples", "experiments"):  # whose files pages show
        (work / folder).symlink_to(SOURCE / folder)
    introductions = headers.write(installed_headers(build), SOURCE / "include", work / "headers")
    (work / "Doxyfile").write_text(DOXYFILE.format(source=work / "headers", out=work))
    subprocess.run(["doxygen", work / "Doxyfile"], check=True)
    for page in (work / "xml").glob("*.xml"):  # where things are declared is the page itself
        page.write_text(re.sub(r"\s*<includes .*?</includes>", "", page.read_text(), flags=re.S))
    write_reference(work / "source" / "reference", introductions)
    subprocess.run([sys.executable, "-m", "sphinx", "-q", "-n", "-W", "--keep-going", "-b", "html", "-D",
                    f"breathe_projects.mollify={work / 'xml'}", work / "source", work / "html"], check=True)
    print(f"the site: {work / 'html' / 'index.html'}")


if __name__ == "__main__":
    main()
