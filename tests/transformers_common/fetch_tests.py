"""Fetch transformers' own tests of the installed version into a folder.

They are in its source distribution, which pip downloads; `--source CHECKOUT` takes them from a checkout of
its repository instead. The source distribution leaves out some of them, generation and export among them:
empty ones take their place, so that the others run.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

PACKAGE = "transformers_tests"  # not `tests`, which is ours
_LEFT_OUT = {
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "utils/test_configuration_utils.py": "config_common_kwargs: dict[str, object] = {}\n",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="to write into")
    parser.add_argument("--source", type=Path, help="a checkout of the repository at the installed version")
    args = parser.parse_args()
    package = args.folder / PACKAGE
    shutil.rmtree(package, ignore_errors=True)
    with tempfile.TemporaryDirectory() as temporary:
        source = args.source or download(Path(temporary))
        shutil.copytree(source / "tests", package)
    for name, text in _LEFT_OUT.items():
        file = package / name
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    for folder in (package, *(f for f in package.rglob("*") if f.is_dir())):
        (folder / "__init__.py").touch()


def download(folder: Path) -> Path:
    """Download and unpack the source distribution of the installed version; return its folder."""
    name = f"transformers-{version('transformers')}"
    options = ["--no-binary", ":all:", "--no-deps", "--quiet", "--dest", str(folder)]
    subprocess.run(
        [sys.executable, "-m", "pip", "download", *options, name.replace("-", "==", 1)], check=True
    )
    with tarfile.open(folder / f"{name}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / name


if __name__ == "__main__":
    main()
