"""Compiled kernels come from numba's cache on disk, in the first process as in all others.

A process that compiles a kernel runs other code than one that loads it, and sums whole rows to another last
bit (measured; it seems to link the functions that the kernel calls, which numba also compiles by themselves
and splits among vector lanes in another way). So where the cache may be empty a child process fills it.
"""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_CHILD = "SOLU_COMPILING"
_TIMEOUT = 600


def fill(sources: Iterable[Path], command: str) -> None:
    """Run `command` in a child process once for these sources, this numba and this processor.

    Where nothing can be written beside the sources it does nothing: every process then compiles for itself.

    Args:
        sources: files that the kernels are compiled from.
        command: Python that compiles them.
    """
    import llvmlite.binding as llvm
    import numba

    if os.environ.get(_CHILD):
        return
    files = list(sources)
    made_of = [file.read_bytes() + str(file.stat().st_mtime_ns).encode() for file in files]
    here = (numba.__version__, sys.version, llvm.get_host_cpu_name(), str(llvm.get_host_cpu_features()))
    name = hashlib.sha256(b"\0".join([*made_of, *(text.encode() for text in here)])).hexdigest()[:16]
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or files[0].parent / "__pycache__")
    mark = folder / f"solu-kernels-{name}"
    try:
        if mark.exists():
            return
        folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {_CHILD: "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        child = [sys.executable, "-c", command]
        subprocess.run(child, env=environment, check=True, capture_output=True, timeout=_TIMEOUT)  # noqa: S603
        mark.touch()
    except (OSError, subprocess.SubprocessError):
        return  # what keeps the kernels from compiling is found, and told, when this process tries
