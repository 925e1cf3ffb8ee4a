"""Puts the crates into the folder vendor, and prints cargo's settings for them.

    vendor.py CARGO

cargo's lock names crates of other systems too, and cargo asks for each of them.
They are half of all bytes, and some have import libraries inside that come
without a source. Nothing of them is built here, so of such a crate its manifest
and its licences stay, and an empty source.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

TARGET = "x86_64-unknown-linux-gnu"
# What `cargo vendor` prints if it is not quiet.
SETTINGS = """\
[source.crates-io]
replace-with = "vendored-sources"

[source.vendored-sources]
directory = "vendor"
"""
KEPT = re.compile(r"cargo\.toml$|(un)?licen[sc]e|copy|notice", re.I)


def printed(cargo, *arguments, **settings):
    command = [cargo, *arguments]
    environment = {**os.environ, **settings}
    return subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def needed(cargo):
    """The names with versions of the crates that this system builds, those of the
    models too."""
    told = printed(
        cargo, "metadata", "--locked", "--format-version=1",
        f"--filter-platform={TARGET}", RUSTFLAGS="--cfg loom --cfg shuttle",
    )
    return {(p["name"], p["version"]) for p in json.loads(told)["packages"]}


def emptied(folder, manifest):
    """Leaves what cargo reads of a crate that it does not build."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif not KEPT.match(path.name) and path.name != ".cargo-checksum.json":
            path.unlink()
    paths = [manifest.get("lib", {}).get("path", "src/lib.rs")]
    if isinstance(manifest["package"].get("build"), str):
        paths.append(manifest["package"]["build"])
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    sums = folder / ".cargo-checksum.json"
    package = json.loads(sums.read_text())["package"]
    sums.write_text(json.dumps({"files": {}, "package": package}))


def main(cargo):
    printed(cargo, "vendor", "--quiet", "--locked")
    wanted = needed(cargo)
    for folder in sorted(Path("vendor").iterdir()):
        manifest = tomllib.loads((folder / "Cargo.toml").read_text())
        package = manifest["package"]
        if (package["name"], package["version"]) not in wanted:
            emptied(folder, manifest)
    print(SETTINGS, end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
