#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The one door to building, running and checking ustack: python3 dev.py TARGET [arguments].

Needs nothing but a Python with its standard library. The first run makes the virtual
environment .venv (or takes the one that is active), installs what pyproject.toml names and
builds the C extension in place; later runs do only what has changed. Output of the tools goes to
build/dev.log; of a failure the first error is shown.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BUILD = ROOT / "build"
LOG = BUILD / "dev.log"
OLDEST = (3, 11)

TARGETS: dict = {}


def target(function: Callable) -> Callable:
    """Make a function a target; its docstring is its help."""
    TARGETS[function.__name__] = function
    return function


# ------------------------------------------------------------------------------------ targets


@target
def help(args: list[str]) -> int:
    """list the targets"""
    print("usage: python3 dev.py TARGET [arguments]\n")
    for name, function in TARGETS.items():
        print(f"  {name:8} {function.__doc__}")
    return 0


@target
def build(args: list[str]) -> int:
    """build the C extension in place, if it is not up to date"""
    prepare()
    return 0


@target
def demo(args: list[str]) -> int:
    """show it at work over ring:, without root; --tap: against this machine's kernel"""
    prepare()
    return run_ustack("demo", args)


@target
def test(args: list[str]) -> int:
    """run the tests, or those that the arguments select (pytest's syntax)"""
    prepare("test", "frameworks")
    return run_tests(args)


@target
def lint(args: list[str]) -> int:
    """ruff, mypy --strict, clang-format, clang-tidy and the three laws of ARCHITECTURE.md"""
    prepare("lint", engine=False)
    return call([sys.executable, "tools/lint.py"])


@target
def fmt(args: list[str]) -> int:
    """put Python and C into the one layout"""
    prepare("lint", engine=False)
    return call([sys.executable, "tools/lint.py", "--fix"])


@target
def san(args: list[str]) -> int:
    """the tests under ASan and UBSan, then the threaded C tests under TSan"""
    prepare("test", "frameworks")
    failed = [address_sanitizer(args), thread_sanitizer()]
    say("san: " + ("failed" if any(failed) else "clean"))
    return int(any(failed))


@target
def cover(args: list[str]) -> int:
    """lines and branches of the C engine that its tests run, or the tests that are given"""
    prepare("test", engine=False)
    check_toolchain()
    return call([sys.executable, "-m", "tools.cover", *args])


@target
def bench(args: list[str]) -> int:
    """the table of targets (--record: kept); --full: the grid; engine; else as ustack bench"""
    prepare("bench")
    if args[:1] == ["engine"]:
        return call([sys.executable, "tools/instructions.py", *args[1:]])
    if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
        full = "--full" in args
        args = ["grid" if full else "targets", *(word for word in args if word != "--full")]
    args = with_record(args)
    return run_ustack("bench", args)


def with_record(args: list[str]) -> list[str]:
    """Return the arguments with the file that --record means where none is named."""
    at = args.index("--record") + 1 if "--record" in args else 0
    if not at or (at < len(args) and not args[at].startswith("-")):
        return args
    return [*args[:at], str(ROOT / "nightly" / "results" / "bench.md"), *args[at:]]


@target
def nightly(args: list[str]) -> int:
    """run the long jobs of nightly/, or those named, and keep their dated results"""
    prepare("test", "bench")
    return call([sys.executable, "tools/nightly.py", *args])


@target
def dist(args: list[str]) -> int:
    """make dist/*.tar.gz and dist/*.whl, and try the wheel in a clean environment"""
    prepare("dist")
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    logged([sys.executable, "-m", "build", "--outdir", str(ROOT / "dist"), str(ROOT)])
    for path in sorted((ROOT / "dist").iterdir()):
        say(f"dist: {path.relative_to(ROOT)} ({path.stat().st_size // 1024} KiB)")
    return call([sys.executable, "tools/wheel.py", *map(str, (ROOT / "dist").glob("*.whl"))])


@target
def clean(args: list[str]) -> int:
    """remove everything that was built; .venv stays"""
    for name in ("build", "dist", "ustack.egg-info", ".mypy_cache", ".ruff_cache", ".pytest_cache"):
        shutil.rmtree(ROOT / name, ignore_errors=True)
    for path in (ROOT / "ustack").rglob("*.so"):
        path.unlink()
    return 0


# ------------------------------------------------------------------------- a place to work in


def prepare(*extras: str, engine: bool = True) -> None:
    """Enter the virtual environment, with these extras installed and the extension built.

    engine: False leaves the extension alone.

    May replace this process by another Python; what follows then runs there.
    """
    started = time.monotonic()
    check_version()
    enter_venv()
    worked = install(extras)
    if engine:
        worked = build_extension() or worked
        worked = link_project() or worked
    if worked:
        say(f"ready in {time.monotonic() - started:.1f} s")


def check_version() -> None:
    """Continue in a newer Python of this machine when this one is too old."""
    if sys.version_info >= OLDEST:
        return
    for minor in range(20, OLDEST[1] - 1, -1):
        newer = shutil.which(f"python3.{minor}")
        if newer and works([newer, "-c", "import venv"]):
            os.execv(newer, [newer, __file__, *sys.argv[1:]])
    have = ".".join(str(part) for part in sys.version_info[:3])
    stop(f"needs Python {OLDEST[0]}.{OLDEST[1]} or newer, this is {have} ({sys.executable})")


def enter_venv() -> None:
    """Continue in the active virtual environment, else in .venv, which is made if need be."""
    if sys.prefix != sys.base_prefix:
        return
    active = os.environ.get("VIRTUAL_ENV")
    python = Path(active or VENV) / "bin" / "python"
    if not works([str(python), "-c", "import pip"]):
        if active:
            stop(f"the active environment {active} has no working pip; deactivate it to use .venv")
        make_venv()
    os.execv(str(python), [str(python), str(ROOT / "dev.py"), *sys.argv[1:]])


def make_venv() -> None:
    """Create .venv, replacing one that does not work."""
    if not works([sys.executable, "-c", "import venv, ensurepip; ensurepip.version()"]):
        require("python3-venv is missing", [apt_python("venv")])
    check_toolchain()
    say("first run: making .venv, then building the C engine ...")
    logged([sys.executable, "-m", "venv", "--clear", str(VENV)])


def install(extras: tuple) -> bool:
    """Install what pyproject.toml asks for. Returns whether there was anything to do."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {
        "project": project["build-system"]["requires"] + project["project"]["dependencies"],
        **{extra: project["project"]["optional-dependencies"][extra] for extra in extras},
    }
    have = read_state()
    missing = [name for name in wanted if have.get(name) != wanted[name]]
    if not missing:
        return False
    requirements = list(dict.fromkeys(line for name in missing for line in wanted[name]))
    say("installing " + ", ".join(r.split(">")[0].split("=")[0] for r in requirements))
    logged([*PIP, *requirements])
    write_state(wanted)
    return True


def link_project() -> bool:
    """Install ustack itself as an editable package. Returns whether there was anything to do."""
    files = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "setup.py")]
    scripts = {"link": str(ROOT), "scripts": hashlib.sha256(b"".join(files)).hexdigest()}
    if scripts.items() <= read_state().items():
        return False
    command = [*PIP, "--no-build-isolation", "--no-deps", "--editable", str(ROOT)]
    with locked():
        logged(command, {"USTACK_PREBUILT": "1"})
    write_state(scripts)
    return True


PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
STATE = Path(sys.prefix) / "ustack-dev.json"


def read_state() -> dict:
    """Return what this virtual environment has been given so far."""
    return json.loads(STATE.read_text()) if STATE.exists() else {}


def write_state(news: dict) -> None:
    """Remember what this virtual environment has been given."""
    STATE.write_text(json.dumps({**read_state(), **news}, indent=1))


# ------------------------------------------------------------------------------- the extension


def build_extension() -> bool:
    """Build the extension in place. Returns whether there was anything to do."""
    if is_built():
        return False
    check_toolchain()
    with locked():
        if is_built():  # by another dev.py, meanwhile
            return False
        say("building the C engine ...")
        made_from = fingerprint()
        logged([sys.executable, "setup.py", "--quiet", "build_ext", "--inplace", "--force"])
        built_marker().write_text(made_from)
    return True


def is_built() -> bool:
    """Is the extension there, and made from the sources as they are now?"""
    marker = built_marker()
    return extension(ROOT).exists() and marker.exists() and marker.read_text() == fingerprint()


def extension(root: Path) -> Path:
    """Return the extension's path below a project's root or a directory of packages."""
    return root / "ustack" / ("_ustack" + sysconfig.get_config_var("EXT_SUFFIX"))


def built_marker() -> Path:
    """Return the file that says from what the extension was built."""
    return BUILD / (sysconfig.get_config_var("SOABI") + ".built")


def fingerprint() -> str:
    """Return a hash of all that the extension is made from."""
    digest = hashlib.sha256()
    for name in ("CC", "CFLAGS", "LDFLAGS", "USTACK_CFLAGS", "USTACK_DEBUG", "USTACK_LTO"):
        digest.update(f"{name}={os.environ.get(name, '')}\n".encode())
    sources = [p for p in (ROOT / "ustack").rglob("*") if p.suffix in (".c", ".h")]
    for path in sorted([*sources, ROOT / "setup.py", ROOT / "ustack" / "_build.py"]):
        digest.update(f"{path}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def check_toolchain() -> None:
    """Make sure that an extension can be compiled."""
    names = [os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang"]
    found = [name for name in names if name and shutil.which(name.split()[0])]
    if not found:
        require("there is no C compiler", ["gcc", "libc6-dev", apt_python("dev")])
        return
    if names.index(found[0]) > 1:
        os.environ["CC"] = found[0]  # not the one that this Python was built with
    include = sysconfig.get_path("include")
    probe = [*found[0].split(), "-fsyntax-only", "-I", include, "-x", "c", "-"]
    if works(probe, "#include <stdlib.h>\n#include <Python.h>\n"):
        return
    if not works(probe, "#include <stdlib.h>\n"):
        require("the C library's headers are missing", ["libc6-dev", apt_python("dev")])
    else:
        require(f"Python.h is missing from {include}", [apt_python("dev")])


def apt_python(part: str) -> str:
    """Return the Debian package with this part of the running Python."""
    return f"python3.{sys.version_info.minor}-{part}"


def require(what: str, packages: list[str]) -> None:
    """Install Debian packages as root, or name the line that does and stop."""
    line = "apt-get install -y --no-install-recommends " + " ".join(packages)
    if shutil.which("apt-get") and os.geteuid() == 0 and "USTACK_APT" not in os.environ:
        os.environ["USTACK_APT"] = "1"  # once is enough
        say(f"{what}; as root on Debian or Ubuntu, so: {line}")
        os.environ["DEBIAN_FRONTEND"] = "noninteractive"
        logged(["apt-get", "update", "-q"])
        logged(line.split())
        os.execv(sys.executable, [sys.executable, str(ROOT / "dev.py"), *sys.argv[1:]])
    stop(f"{what}. Debian or Ubuntu: sudo {line}")


# ---------------------------------------------------------------------------------------- tests


def run_tests(args: list[str], env: dict | None = None, leave: list[str] | None = None) -> int:
    """Run the tests that are given; else all: on all cores, then those that need quiet alone.

    leave: files of tests that are not among all.
    """
    pytest = [sys.executable, "-m", "pytest"]
    if args:
        return call([*pytest, *args], env)
    cores = str(len(os.sched_getaffinity(0)))
    pytest += [f"--ignore={path}" for path in leave or []]
    pytest += ["-o", f"cache_dir={BUILD / 'tests'}"]
    shutil.rmtree(BUILD / "tests", ignore_errors=True)
    failed = []
    for name, how in {
        f"side by side, {cores} at a time": ["-m", "not quiet", "-n", cores, "--dist", "worksteal"],
        "one after another": ["-m", "quiet"],
    }.items():
        say(f"tests {name}")
        status = call([*pytest, *how], env)
        if status == 1:
            status = repeat_tests(pytest, env)
        if status == 2:  # interrupted
            return status
        failed += [name] * (status != 0)
    say("tests " + "; ".join(f"{name}: failed" for name in failed) if failed else "tests passed")
    return int(bool(failed))


#: What fails is tried once more when it is no more than this: the machine may have been elsewhere.
REPEATED = 3


def repeat_tests(pytest: list[str], env: dict | None) -> int:
    """Run the few tests that have failed once more, by themselves, and tell which they are."""
    cache = BUILD / "tests" / "v" / "cache" / "lastfailed"
    names = list(json.loads(cache.read_text())) if cache.exists() else []
    if not 0 < len(names) <= REPEATED:
        return 1
    status = call([*pytest, "--last-failed"], env)
    if status == 0:
        say("tests that failed, and passed alone: " + ", ".join(names))
        cache.unlink(missing_ok=True)
    return status


# ----------------------------------------------------------------------------------- sanitizers


#: What the sanitizers would see nothing new in: tests that do not run the extension, and programs
#: of others, whose calls tests/live makes, too.
UNSANITIZED = [
    *(f"tests/test_{name}.py" for name in ("determinism", "dev", "laws", "matrix")),
    "tests/live/test_side_by_side.py",
    *(f"interop/test_{name}.py" for name in ("databases", "frameworks", "tools")),
    *(f"interop/test_program_{name}.py" for name in ("clients", "servers")),
]


def address_sanitizer(args: list[str]) -> int:
    """Run the tests on a copy of the package whose extension has ASan and UBSan in it."""
    flags = "-fsanitize=address,undefined -fno-sanitize-recover=all"
    lib = build_variant("asan", flags)
    env = {
        "LD_PRELOAD": sanitizer_library("libasan.so"),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": str(lib),
        "PYTHONSAFEPATH": "1",
        "USTACK_CFLAGS": flags + " -fno-omit-frame-pointer",
        "USTACK_SANITIZER": "address",
    }
    return run_tests(args, env, UNSANITIZED)


def thread_sanitizer() -> int:
    """Run the C tests that have threads in them under TSan."""
    env = {"USTACK_CFLAGS": "-O1 -g -fsanitize=thread", "USTACK_SANITIZER": "thread"}
    command = [sys.executable, "-m", "pytest", "tests/test_c.py", "-k", "thread"]
    no_aslr = ["setarch", os.uname().machine, "-R"]  # old TSan runtimes need it
    return call([*no_aslr, *command] if works([*no_aslr, "true"]) else command, env)


def build_variant(name: str, flags: str) -> Path:
    """Build package and extension with other flags into a directory for PYTHONPATH."""
    lib = BUILD / name / "lib"
    shutil.rmtree(lib, ignore_errors=True)
    say(f"building with {flags} ...")
    command = [sys.executable, "setup.py", "--quiet", "build", "--build-lib", str(lib)]
    env = {"USTACK_DEBUG": "1", "USTACK_CFLAGS": flags}
    with locked():
        logged([*command, "--build-temp", str(BUILD / name / "obj"), "--force"], env)
    return lib


def sanitizer_library(name: str) -> str:
    """Return the path of the compiler's sanitizer runtime."""
    cc = (os.environ.get("CC") or sysconfig.get_config_var("CC")).split()[0]
    found = subprocess.run([cc, f"-print-file-name={name}"], capture_output=True, text=True)
    path = found.stdout.strip()
    if not os.path.isabs(path):
        stop(f"{cc} has no {name}; take gcc: CC=gcc python3 dev.py san")
    return os.path.realpath(path)


# ------------------------------------------------------------------------------ small machinery


def tool(name: str) -> str:
    """Return a program of the virtual environment, else of the machine."""
    path = Path(sys.prefix) / "bin" / name
    return str(path) if path.exists() else name


def run_ustack(command: str, args: list[str]) -> int:
    """Become the ustack program."""
    sys.stdout.flush()
    program = tool("ustack")
    os.execv(program, [program, command, *args])


def call(command: list[str], env: dict | None = None, cwd: Path = ROOT) -> int:
    """Run a command with its output shown, and return its exit status; Ctrl-C ends it and us."""
    sys.stdout.flush()
    try:
        return subprocess.run(command, cwd=cwd, env={**os.environ, **(env or {})}).returncode
    except KeyboardInterrupt:
        sys.exit(130)


def works(command: list[str], text: str = "") -> bool:
    """Does this command exist and end well?"""
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True)
    except OSError:
        return False
    return done.returncode == 0


def logged(command: list[str], env: dict | None = None, cwd: Path = ROOT) -> None:
    """Run a command with its output in the log; if it fails, show the first error and stop."""
    BUILD.mkdir(exist_ok=True)
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with LOG.open("a") as log:
        log.write(f"$ {' '.join(command)}\n{done.stdout}\n")
    if done.returncode:
        lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        pip_says = "error: subprocess-exited-with-error"
        errors = [line for line in lines if "error:" in line.lower() and line != pip_says]
        first = (errors or lines or ["no output"])[0]
        stop(f"{first}\nustack: that was: {' '.join(command)}; all of it: {LOG}", 1)


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Keep two runs of dev.py from building at the same time."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """Tell the user something."""
    print(f"ustack: {text}", flush=True)


def stop(text: str, status: int = 2) -> None:
    """Tell the user why it does not go on, and end."""
    print(f"ustack: {text}", file=sys.stderr, flush=True)
    sys.exit(status)


def main(argv: list[str]) -> int:
    """Run the target that the command line names."""
    name = argv[0] if argv else "help"
    if name in ("-h", "--help"):
        name = "help"
    if name not in TARGETS:
        stop(f"no such target: {name}; there are {', '.join(TARGETS)}")
    return TARGETS[name](argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
