"""Builds the extension module, and the library by `make library`.

GMPRT_LIBDIR names a folder with a library that is built already. With
GMPRT_SYSTEM=1 the module is linked with the library that the system has, and
holds no copy: for packages of a distribution. The source distribution holds the
sources of the library in its folder `runtime`.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).parent.resolve()
BUNDLED = HERE / "runtime"
ROOT = BUNDLED if BUNDLED.exists() else HERE.parent
LIBRARY = "libgmprt.so.0"
HEADER = (ROOT / "include" / "gmp.h").read_text()
VERSION = re.findall(r'define GMPRT_VERSION "(.+)"', HEADER)[0]


class BuildExt(build_ext):
    def run(self):
        headers = pathlib.Path(sysconfig.get_path("include"))
        if not (headers / "Python.h").exists():
            sys.exit(
                f"gmprt: {headers} has no Python.h: install Python's headers, "
                "python3-dev on Debian and python3-devel on Fedora"
            )
        given = os.environ.get("GMPRT_LIBDIR")
        if os.environ.get("GMPRT_SYSTEM") == "1":
            for extension in self.extensions:
                extension.libraries = ["gmprt"]
                extension.library_dirs = [given] if given else []
            return super().run()
        libdir = pathlib.Path(given) if given else ROOT / "build" / "lib"
        if not (libdir / LIBRARY).exists():
            subprocess.run(["make", "-C", str(ROOT), "library"], check=True)
        for extension in self.extensions:
            extension.extra_objects = [str(libdir / LIBRARY)]
            extension.extra_link_args = ["-Wl,-rpath,$ORIGIN/_lib"]
        super().run()
        # In a folder of its own: gdb's script is no module of the package.
        package = pathlib.Path(self.get_ext_fullpath("gmprt._core")).parent
        place = package / "_lib"
        place.mkdir(parents=True, exist_ok=True)
        for name in (LIBRARY, LIBRARY + "-gdb.py"):
            if (libdir / name).exists():
                shutil.copy2(libdir / name, place / name)


class SDist(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        if BUNDLED.exists():
            return
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z"],
            check=True, stdout=subprocess.PIPE,
        ).stdout.decode().split("\0")
        for name in listed:
            if not name or name.startswith(("python/", "docs/", "c-tests/")):
                continue
            to = pathlib.Path(base_dir) / "runtime" / name
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to)


setup(
    version=VERSION,
    ext_modules=[
        Extension(
            "gmprt._core",
            sources=sorted(
                str(p.relative_to(HERE)) for p in HERE.glob("csrc/*.c")
            ),
            depends=["csrc/core.h"],
            include_dirs=[str(ROOT / "include")],
            define_macros=[("_GNU_SOURCE", "1")],
        )
    ],
    cmdclass={"build_ext": BuildExt, "sdist": SDist},
)
