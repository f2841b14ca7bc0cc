"""The installed headers as Doxygen reads them: their comments are plain // lines, which stand for /// and ///<.

Text is handed on as reStructuredText, escaped, so that nothing in it is markup; comments whose lines are laid out by
hand (lists with aligned columns) stay as they are.
"""
import pathlib
import re

SPECIAL = re.compile(r"([\\*`|_<>])")


def as_rst(lines):
    """A comment's lines as a reStructuredText paragraph, or as a literal block where columns are aligned."""
    laid_out = any(re.match(r" +\S", line) or re.search(r"\S {2,}\S", line) for line in lines)
    if laid_out:
        return ["::", ""] + ["   " + line for line in lines]
    return [SPECIAL.sub(r"\\\1", line) for line in lines]


def as_markdown(lines):
    """The same as Markdown."""
    if any(re.match(r" +\S", line) or re.search(r"\S {2,}\S", line) for line in lines):
        return ["```text", *lines, "```"]
    return [re.sub(r"([\\*_<>\[\]$])", r"\\\1", line) for line in lines]


def documented(text):
    """(introduction, source): the comment at the header's top, and the rest with its comments marked for Doxygen."""
    lines = text.split("\n")
    introduction = []
    while lines and lines[0].startswith("//"):
        introduction.append(lines.pop(0)[2:].removeprefix(" "))
    out, comment, indent = [], [], ""

    def flush():
        nonlocal comment
        if comment:
            out.append(f"{indent}/// \\verbatim embed:rst:leading-slashes")
            out.extend(f"{indent}/// {line}".rstrip() for line in as_rst(comment))
            out.append(f"{indent}/// \\endverbatim")
        comment = []

    for line in lines:
        own = re.match(r"^(\s*)//(?!/) ?(.*)$", line)
        if own:
            indent = own[1]
            comment.append(own[2])
            continue
        trailing = re.match(r"^(.*\S)\s+// (.*)$", line)
        if comment and not line.strip():
            comment = []  # a remark on what follows as a whole, which belongs to no declaration
        flush()
        if trailing and not trailing[1].startswith("#"):
            text = re.sub(r"([\\\\<>&@#%])", r"\\\1", trailing[2])
            out.append(f"{trailing[1]}  ///< {text}")
        else:
            out.append(line)
    return introduction, "\n".join(out)


def write(headers, root, folder):
    """Writes the headers, given as paths below `root`, into `folder`; returns their introductions by path."""
    introductions = {}
    for header in headers:
        introduction, source = documented((root / header).read_text())
        introductions[header] = introduction
        target = pathlib.Path(folder) / header
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source)
    return introductions
