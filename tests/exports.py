#!/usr/bin/env python3
"""Holds what the shared libraries export against what installed headers declare; needs clang, which lists the latter.

  tests/exports.py INCLUDE LIBRARY...
"""
import json
import re
import shutil
import subprocess
import sys

SKIPPED = 77
FUNCTIONS = {"FunctionDecl", "CXXMethodDecl", "CXXConstructorDecl", "CXXDestructorDecl", "CXXConversionDecl"}


def documents(text):
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        value, end = decoder.raw_decode(text, at)
        yield value
        at = end + len(text[end:]) - len(text[end:].lstrip())


def unified(name):
    """A constructor or destructor has variants (C1, C2, D0, D1, D2), of which clang lists one."""
    return re.sub(r"([CD])[0-2]E", r"\g<1>1E", name)


def is_defined_in_header(node):
    kinds = {child.get("kind") for child in node.get("inner", [])}
    return bool(kinds & {"CompoundStmt", "CXXTryStmt"}) or any(
        node.get(key) for key in ("isImplicit", "pure", "explicitlyDeleted", "explicitlyDefaulted"))


def walk(node, functions, classes, path=()):
    """Mangled names of the functions and variables that a header leaves to the library, and of its classes."""
    kind, name = node.get("kind"), node.get("name", "")
    if kind in FUNCTIONS:
        if "mangledName" in node and not is_defined_in_header(node):
            functions.add(unified(node["mangledName"]))
        return
    if kind == "VarDecl" and node.get("storageClass") == "extern":
        functions.add(node["mangledName"])
    if kind in ("NamespaceDecl", "CXXRecordDecl"):
        path = (*path, name)
        if kind == "CXXRecordDecl":
            classes.add("N" + "".join(f"{len(part)}{part}" for part in path) + "E")
        for child in node.get("inner", []):
            walk(child, functions, classes, path)


def declared(include):
    command = ["clang++", "-std=c++20", "-fsyntax-only", f"-I{include}", "-Xclang", "-ast-dump=json", "-Xclang",
               "-ast-dump-filter=mollify", "-xc++", "-"]
    text = subprocess.run(command, input="#include <mollify/mollify.h>\n", text=True, capture_output=True, check=True).stdout
    functions, classes = set(), set()
    for document in documents(text):
        if document.get("kind") == "NamespaceDecl" and document.get("name") == "mollify":
            walk(document, functions, classes)
    return functions, classes


def exported(library):
    """Of every symbol, whether it has one definition only (functions and data that are neither inline nor templates)."""
    lines = subprocess.run(["nm", "-D", "--defined-only", library], text=True, capture_output=True, check=True).stdout
    symbols = {}
    for line in lines.splitlines():
        kind, name = line.split()[-2:]
        symbols[unified(name.split("@")[0])] = kind in "TDBR"
    return symbols


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    if not shutil.which("clang++"):
        print("skipped; needs clang")
        sys.exit(SKIPPED)
    functions, classes = declared(sys.argv[1])
    symbols = {}
    for library in sys.argv[2:]:
        symbols |= exported(library)
    lacking = sorted(name for name in functions if name not in symbols)
    inner = sorted(name for name, single in symbols.items() if single and name not in functions
                   and not (name.startswith("_ZT") and name[4:] in classes))
    foreign = sorted(name for name in symbols if "7mollify" not in name)
    failed = False
    for names, fault in [(lacking, "declared in installed headers, and not exported"),
                         (inner, "exported, and not declared in installed headers"),
                         (foreign, "exported, and not the library's own")]:
        if names:
            failed = True
            text = subprocess.run(["c++filt"], input="\n".join(names), text=True, capture_output=True).stdout
            print(f"{fault}:", *(f"  {line}" for line in text.splitlines()), sep="\n")
    print(f"{len(symbols)} symbols; {len(functions)} functions and {len(classes)} classes are declared")
    sys.exit(failed)


main()
