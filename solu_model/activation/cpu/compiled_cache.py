"""Fill numba's cache on disk before it is used, so that every process runs the same machine code.

A process that compiles a kernel runs different code from one that loads it, and its sums of whole rows differ
in the last bit. (Measured. The probable cause: the compiling process links the functions that the kernel
calls, which numba also compiles on their own and vectorises differently.) So if the cache may be empty, a
child process fills it, and this process loads from it like any other.
"""

import hashlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_CHILD = "SOLU_COMPILING"  # environment variable that marks the child process, so that it starts no other
_TIMEOUT = 600  # seconds
_WARNED = "SOLU_COMPILED_IN_MEMORY"
"""Environment variable that a process and its children share, so that a command warns once: `cache`, whose
loops numba compiles too, warns by it as well."""

_log = logging.getLogger(__name__)


def fill(sources: Iterable[Path], command: str) -> None:
    """Run `command` in a child process, once for these sources, this version of numba and this processor.

    If no folder for the cache can be written to, warn: every process then compiles for itself.

    Args:
        sources: files that the kernels are compiled from; the first one's folder holds the cache, unless
            NUMBA_CACHE_DIR names another.
        command: Python code that compiles the kernels.
    """
    import llvmlite.binding as llvm
    import numba

    if os.environ.get(_CHILD):
        return
    files = list(sources)
    # numba's own cache compares modification times, so the mark must change with them too.
    inputs = [file.read_bytes() + str(file.stat().st_mtime_ns).encode() for file in files]
    machine = (numba.__version__, sys.version, llvm.get_host_cpu_name(), str(llvm.get_host_cpu_features()))
    name = hashlib.sha256(b"\0".join([*inputs, *(text.encode() for text in machine)])).hexdigest()[:16]
    folder = _folder(files[0].parent)
    if folder is None:
        warn_once()
        return
    mark = folder / f"solu-kernels-{name}"
    try:
        if mark.exists():
            return
        environment = os.environ | {_CHILD: "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        child = [sys.executable, "-c", command]
        subprocess.run(child, env=environment, check=True, capture_output=True, timeout=_TIMEOUT)  # noqa: S603
        mark.touch()
    except (OSError, subprocess.SubprocessError):
        return  # this process will meet the same error when it compiles, and report it


def _folder(package: Path) -> Path | None:
    """Return the folder that numba keeps compiled code in; None if it cannot write to any."""
    from numba.misc.appdirs import AppDirs

    named = os.environ.get("NUMBA_CACHE_DIR")
    account = Path(AppDirs("numba", appauthor=False).user_cache_dir)
    for folder in [*([Path(named)] if named else []), package / "__pycache__", account]:  # numba's own order
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    return None


def warn_once() -> None:
    """Warn that compiled code is not kept."""
    if _WARNED not in os.environ:
        os.environ[_WARNED] = "1"
        _log.warning(
            "no folder for compiled code can be written to: every process compiles for itself, which takes "
            "about a minute. Set NUMBA_CACHE_DIR to a folder of your own to keep it"
        )
