#!/usr/bin/env python3
"""Links of the Markdown files lead somewhere: files, pages, pictures, sources that are shown, headings. Needs no Sphinx."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def anchors(page):
    """As forges and the site name headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page):
    text = re.sub(r"^```(?!\{).*?^```$", "", page.read_text(), flags=re.M | re.S)  # code speaks of other things
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            yield target
    for target in re.findall(r"\{doc\}`([^`]+)`", text):
        if "reference/" in target:  # made from a header
            header = target.split("reference/", 1)[1]
            if header != "index" and not (ROOT / "include/mollify" / (header.replace("-", "/") + ".h")).exists():
                yield target
        elif not (page.parent / (target + ".md")).exists():
            yield target
    for target in re.findall(r"```\{literalinclude\} (\S+)", page.read_text()):
        if not (page.parent / target).exists():
            yield target


pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
faults = [f"{page.relative_to(ROOT)}: {target} leads nowhere" for page in pages for target in broken(page)]
print("\n".join(faults) or f"{len(pages)} pages")
sys.exit(bool(faults))
