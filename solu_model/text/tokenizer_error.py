"""The error of tokenizers, and the library's panics turned into it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager


class TokenizerError(ValueError):
    """A tokenizer cannot be trained or used. The message states the expectation, the finding and the fix."""


@contextmanager
def panics_as_errors() -> Iterator[None]:
    """Raise a TokenizerError where the library `tokenizers` panics, or rejects a definition.

    A panic is a BaseException, which `except Exception` does not catch.
    """
    try:
        yield
    except TokenizerError:
        raise
    except TypeError as error:
        if not re.search("Text(Encode)?Input|InputSequence", str(error)):
            raise
        raise TokenizerError(
            "the text is not Unicode: expected a string without halves of surrogate pairs; replace them"
        ) from None
    except BaseException as error:
        kind = type(error).__name__
        # `tokenizers` raises bare Exception for its own errors; all others are not about the tokenizer.
        if kind != "PanicException" and type(error) is not Exception:
            raise
        reason = " ".join(str(error).split())[:200]
        if "retry-limit" in reason:
            reason += "; one of its patterns takes exponential time, such as (a+)+$"
        raise TokenizerError(
            f"the tokenizer fails ({reason}): repair its tokenizer.json, or give another (--tokenizer PATH)"
        ) from None
