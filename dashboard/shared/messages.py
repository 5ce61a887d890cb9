"""Text that Markdown shows as it is."""

import re


def plain(text: object) -> str:
    """Escape every punctuation mark, so that Markdown shows the text as it is."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(str(text).split()))
