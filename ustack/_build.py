# SPDX-License-Identifier: BSD-3-Clause
"""Build the one extension, ustack._ustack, in cffi API mode.

The cdef is ustack.h itself without its preprocessor lines, so that C and Python cannot drift
apart; the sources are every .c file below this directory. setup.py runs this file.

USTACK_CFLAGS is appended to the flags. USTACK_DEBUG=1 builds with assertions and without the flags
that CPython was built with. USTACK_LTO=0 leaves link-time optimisation out, which only gcc does
without help.
"""

import os
import re
import shlex
import sysconfig
from pathlib import Path

from cffi import FFI

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent

WARNINGS = ["-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-fvisibility=hidden"]
RELEASE = ["-O3", "-g"]
# CPython's own flags bring -DNDEBUG and -fwrapv, which would hide what a debug build is for.
DEBUG = ["-O1", "-g", "-UNDEBUG", "-fno-wrapv", "-fno-omit-frame-pointer"]


def cdef(header: str) -> str:
    """Return the declarations of ustack.h for cffi: the header without preprocessor lines."""
    return re.sub(r"^[ \t]*#.*(?:\\\n.*)*$", "", header, flags=re.MULTILINE)


def sources() -> list[str]:
    """Return the .c files of the extension, relative to the project's root."""
    return sorted(str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.c"))


def headers() -> list[str]:
    """Return the headers that a change of must rebuild the extension."""
    return sorted(str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.h"))


def flags() -> tuple[list[str], list[str]]:
    """Return the flags for the compiler and for the linker."""
    extra = shlex.split(os.environ.get("USTACK_CFLAGS", ""))
    if os.environ.get("USTACK_DEBUG") == "1":
        return WARNINGS + DEBUG + extra, extra
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC")
    lto = "gcc" in compiler and os.environ.get("USTACK_LTO") != "0"
    optimise = [*RELEASE, "-flto=auto"] if lto else RELEASE
    return WARNINGS + optimise + extra, optimise + extra


ffi = FFI()
ffi.cdef(cdef((PACKAGE / "ustack.h").read_text()))
compile_args, link_args = flags()
ffi.set_source(
    "ustack._ustack",
    '#include "ustack.h"',
    sources=sources(),
    depends=headers(),
    include_dirs=["ustack"],
    define_macros=[("_CFFI_NO_LIMITED_API", None)],
    py_limited_api=False,
    extra_compile_args=compile_args,
    extra_link_args=link_args,
)
