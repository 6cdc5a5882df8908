#!/usr/bin/env python3
"""Prints the licence texts of everything that is compiled into the program (the packages must carry them), each text once, under
the names of the crates that have it. Reads cargo's metadata and the crates' own files; licences that are no part of a crate are named."""

import collections
import json
import pathlib
import subprocess
import sys

NAMES = ("LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT", "UNLICENSE")
# Compiled from source that lies deeper in its crate.
INSIDE = {"openh264-sys2": ["upstream/LICENSE"], "turbojpeg-sys": ["libjpeg-turbo/LICENSE.md", "libjpeg-turbo/README.ijg"]}


def compiled_crates():
    """The packages that the program is linked from: no build scripts' and no tests' own."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", "aarch64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    seen, left = set(), [root]
    while left:
        here = left.pop()
        for dependency in nodes[here]["deps"]:
            normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if normal and dependency["pkg"] not in seen:
                seen.add(dependency["pkg"])
                left.append(dependency["pkg"])
    return sorted((packages[id] for id in seen), key=lambda package: (package["name"], package["version"]))


def texts(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and path.name.upper().startswith(NAMES)]
    for name in INSIDE.get(package["name"], []):
        path = folder / name
        if not path.is_file():
            sys.exit(f"licences: {package['name']} {package['version']} has no {name} any more: correct cross/licences.py")
        files.append(path)
    return [path.read_text(errors="replace").strip() for path in files]


def main():
    holders, without = collections.OrderedDict(), []
    for package in compiled_crates():
        found = texts(package)
        for text in found:
            holders.setdefault(text, []).append(f"{package['name']} {package['version']}")
        if not found:
            without.append(f"{package['name']} {package['version']}: {package['license']}")
    print("pinhole is compiled from the following, under their own licences.\n")
    if without:
        print("Without a text of their own, under the licence that is named:\n\n  " + "\n  ".join(without) + "\n")
    for text, names in holders.items():
        print("=" * 100 + "\n" + ", ".join(names) + "\n" + "=" * 100 + f"\n\n{text}\n")


main()
