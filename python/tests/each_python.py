"""Runs the tests of the package with each Python that is here: those in PATH,
and those of pyenv, or those that are named. Each gets an environment of its own,
into which pip fetches pytest.

usage: each_python.py [PYTHON...]
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

PACKAGE = pathlib.Path(__file__).parents[1]
ASK = ("import sys, sysconfig, os; os.stat(sysconfig.get_path('include') + "
       "'/Python.h'); print(sys.version.split()[0], sys.implementation.name)")


def version(python):
    asked = subprocess.run([python, "-c", ASK], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True)
    return asked.stdout.split() if asked.returncode == 0 else None


def pythons():
    """By version, each once."""
    minors = range(9, 20)
    pyenv = pathlib.Path.home() / ".pyenv/versions"
    places = [p for n in minors if (p := shutil.which(f"python3.{n}"))]
    places += [str(p) for n in minors for p in pyenv.glob(f"3.{n}.*/bin/python")]
    found = {}
    for place in sys.argv[1:] or places:
        answer = version(place)
        if answer and answer[1] == "cpython":
            found.setdefault(answer[0], place)
    return found


def try_one(python):
    """The last line of its tests; or all that was said, if they fail."""
    with tempfile.TemporaryDirectory() as place:
        venv = pathlib.Path(place, "venv")
        inside = str(venv / "bin/python")
        env = {**os.environ, "GMPRT_LATE": os.environ.get("GMPRT_LATE", "20")}
        said = ""
        for command in (
            [python, "-m", "venv", str(venv)],
            [inside, "-m", "pip", "install", "-q", "pytest", "anyio",
             "ipython", str(PACKAGE)],
            [inside, "-m", "pytest", "-q", "-p", "no:cacheprovider",
             str(PACKAGE / "tests")],
        ):
            ended = subprocess.run(command, cwd=place, env=env, text=True,
                                   stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT)
            said = ended.stdout
            if ended.returncode != 0:
                return f"failed\n{said}"
        return said.splitlines()[-1]


def main():
    failed = False
    for number, python in sorted(pythons().items()):
        said = try_one(python)
        print(f"{number}: {said}", flush=True)
        failed |= said.startswith("failed")
    sys.exit(failed)


if __name__ == "__main__":
    main()
