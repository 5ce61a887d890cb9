"""Read the files of components: JavaScript and CSS, as the strings that Streamlit takes."""

from pathlib import Path

SHARED = Path(__file__).parent


def script(folder: Path, *names: str, shared: tuple[str, ...] = ()) -> str:
    """Return the JavaScript of a component: the `shared` files of this folder first, then its own.

    Args:
        folder: of the component. names: its own files, in the order in which they are read.
        shared: files of `dashboard/shared/components/`.
    """
    files = [*(SHARED / name for name in shared), *(folder / name for name in names)]
    return "".join(file.read_text(encoding="utf-8") for file in files)


def style(folder: Path, name: str) -> str:
    """Return the CSS of a component."""
    return (folder / name).read_text(encoding="utf-8")
