# SPDX-License-Identifier: BSD-3-Clause
"""The three laws of ARCHITECTURE.md as checks: python3 tools/laws.py [1] [2] [3].

1  Pure below, effects above: the engine's objects, linked together, need nothing but memory, and
   hold no variable that could change.
2  Includes point down the data path.
3  The boundary between C and Python is crossed once per burst, or in C.

Each check returns the breaches that it found, a line each.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "ustack"

# The layers in the order of the data path, each with those that it may include besides itself.
LAYERS = {
    "base": (),
    "net": ("base",),
    "udp": ("net", "base"),
    "tcp": ("net", "base"),
    "sock": ("tcp", "udp", "net", "base"),
    "io": ("base",),
    "engine": ("sock", "tcp", "udp", "net", "base"),
    "worker": ("engine", "io", "base"),
    "sim": ("engine", "sock", "tcp", "udp", "net", "base"),
    "aio": ("worker", "engine", "io", "base"),
    "hotsocket": ("worker", "engine", "io", "base"),
    "bench": ("worker", "engine", "io", "base"),
}
PURE = ("base", "net", "udp", "tcp", "sock", "engine", "sim")
# Files directly in ustack/ that are not named as their layer is.
FILES = {"config": "engine", "check": "engine", "control": "engine", "handover": "engine"}
FILES |= {"wait": "worker", "calls": "worker", "admin": "worker"}
FILES |= {"doorbell": "worker", "guardian": "worker", "sleep": "worker", "staging": "worker"}
FILES |= {"exchange": "worker"}

# What the engine may need from outside. clang turns memcmp() == 0 into bcmp().
ALLOWED = {"memcpy", "memmove", "memset", "memcmp", "memchr", "bcmp"}
ALLOWED |= {"malloc", "calloc", "free", "aligned_alloc"}
ALLOWED |= {"__popcountdi2"}  # libgcc's arithmetic, where the machine has no instruction for it
CFLAGS = ["-std=gnu11", "-O2", "-DNDEBUG", "-fno-pic", "-fno-pie", "-fno-stack-protector"]


def layer_of(path: Path) -> str:
    """Return the layer that a C file of the package belongs to."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else FILES.get(path.stem, path.stem)


# --------------------------------------------------------------------------------------- law 1


def law_1() -> list[str]:
    """Check that the engine has no effects and no state of its own."""
    files = [path for path in sorted(PACKAGE.rglob("*.c")) if layer_of(path) in PURE]
    if not files:
        return ["there is no engine"]
    with tempfile.TemporaryDirectory() as place:
        objects = [f"{place}/{i}.o" for i in range(len(files))]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(compile_pure, files, objects))
        engine = f"{place}/engine.o"
        run(["ld", "-r", "-o", engine, *objects])
        return sorted(set(impurities(run(["nm", engine]))))


def compile_pure(source: Path, output: str) -> None:
    """Compile one file in the way that makes its symbols tell the truth."""
    compiler = [os.environ.get("CC", "cc"), *CFLAGS, f"-I{PACKAGE}"]
    run([*compiler, "-c", str(source), "-o", output])


def impurities(nm: str) -> Iterator[str]:
    """Yield what the symbols of the whole engine tell against it."""
    for line in nm.splitlines():
        kind, name = line.split()[-2:]
        if kind in "Uw" and name not in ALLOWED:
            yield f"the engine needs {name}(), which is not memory"
        elif kind in "bBdDCsSgG":
            yield f"the engine has a variable of its own: {name}"


def run(command: list[str]) -> str:
    """Run a tool and return what it says; if it fails, so do we."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr.strip() or f"{command[0]} failed")
    return done.stdout


# --------------------------------------------------------------------------------------- law 2


def law_2() -> list[str]:
    """Check that no file includes one of a layer above its own, or of one beside it."""
    breaches = []
    for path in sorted(PACKAGE.rglob("*.[ch]")):
        layer = layer_of(path)
        if path.name == "ustack.h":
            continue
        if layer not in LAYERS:
            breaches.append(f"{path.relative_to(ROOT)} is in no layer that tools/laws.py knows")
            continue
        for number, included in includes(path):
            other = layer_of(included)
            if included.name != "ustack.h" and other != layer and other not in LAYERS[layer]:
                where = f"{path.relative_to(ROOT)}:{number}"
                breaches.append(f"{where}: {layer} includes {included.relative_to(PACKAGE)}")
    return breaches


def includes(path: Path) -> Iterator[tuple[int, Path]]:
    """Yield line number and path of the package's own files that a file includes."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
        if match:
            name = match[1]
            beside, above = path.parent / name, PACKAGE / name
            yield number, (beside if beside.exists() else above).resolve()


# --------------------------------------------------------------------------------------- law 3


def law_3() -> list[str]:
    """Check that C never calls back through cffi, and that Python does not loop over calls of C.

    A call of the extension inside a loop must say on its line how often it is made, in a comment
    that starts with "law 3:", as in `# law 3: once a burst`.
    """
    breaches = []
    for path in (PACKAGE / "ustack.h", PACKAGE / "_build.py"):
        if re.search(r'extern\s+"Python', path.read_text()):
            breaches.append(f'{path.relative_to(ROOT)}: extern "Python": call Python by vectorcall')
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text()
        lines = text.splitlines()
        for number, name in calls_in_loops(ast.parse(text)):
            if "# law 3:" not in lines[number - 1]:
                where = f"{path.relative_to(ROOT)}:{number}"
                breaches.append(f"{where}: lib.{name}() in a loop; say how often: # law 3: …")
    return sorted(set(breaches))


def calls_in_loops(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line number and name of each lib.…() that a loop of the same function repeats."""
    for loop in ast.walk(tree):
        if isinstance(loop, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
            yield from calls(loop)
        elif isinstance(loop, (ast.For, ast.AsyncFor, ast.While)):
            for statement in loop.body:
                yield from calls(statement)


def calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line number and name of each lib.…() below a node."""
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id == "lib"
        ):
            yield node.lineno, node.func.attr


def main(numbers: list[str]) -> int:
    """Check the laws of these numbers, or all."""
    breaches = []
    for number in numbers or ["1", "2", "3"]:
        breaches += [f"law {number}: {b}" for b in {"1": law_1, "2": law_2, "3": law_3}[number]()]
    print("\n".join(breaches), end="\n" if breaches else "")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
