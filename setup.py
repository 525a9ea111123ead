# SPDX-License-Identifier: BSD-3-Clause
"""The extension, built by cffi; everything else is in pyproject.toml.

Only what changed is compiled, on all cores: an object is fresh when it is newer than every file
that the compiler listed when it made it, and was made with the same flags.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import setup
from setuptools.command.build_ext import build_ext


class BuildExt(build_ext):
    """setuptools' build_ext with parallel, incremental compilation."""

    def build_extensions(self) -> None:
        """Compile and link, with the compiler's own compile() replaced."""
        self.compiler.compile = self.compile_changed
        super().build_extensions()

    def compile_changed(
        self,
        sources: list[str],
        output_dir: Any = None,
        macros: Any = None,
        include_dirs: Any = None,
        debug: Any = 0,
        extra_preargs: Any = None,
        extra_postargs: Any = None,
        depends: Any = None,
    ) -> list[str]:
        """Compile what is not fresh and return all objects."""
        cc = self.compiler
        macros, objects, extra, pp_opts, build = cc._setup_compile(
            output_dir, macros, include_dirs, sources, depends, extra_postargs
        )
        cc_args = cc._get_cc_args(pp_opts, debug, extra_preargs)
        key = repr((cc.compiler_so, cc_args, extra))

        def compile_one(obj: str) -> None:
            src, ext = build[obj]
            if not fresh(obj, key):
                cc._compile(obj, src, ext, cc_args, [*extra, "-MMD"], pp_opts)
                Path(obj + ".flags").write_text(key)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(compile_one, objects))
        return objects


def fresh(obj: str, key: str) -> bool:
    """Is the object newer than its sources, and made with these flags?"""
    try:
        if Path(obj + ".flags").read_text() != key:
            return False
        made = os.path.getmtime(obj)
        needs = Path(obj).with_suffix(".d").read_text().replace("\\\n", " ").split()[1:]
        return all(os.path.getmtime(path) < made for path in needs)
    except OSError:
        return False


# dev.py has built the extension in place when it links the package into an environment.
prebuilt = os.environ.get("USTACK_PREBUILT") == "1"
setup(
    cffi_modules=[] if prebuilt else ["ustack/_build.py:ffi"],
    cmdclass={"build_ext": BuildExt},
)
