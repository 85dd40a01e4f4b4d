"""Text within generated source: whatever it says, it stays text."""

from __future__ import annotations

import re

from actsearch.expression import Limits
from actsearch.storage.tolerant import one_line

__all__ = ["escape_comment", "escape_docstring"]

_LONGEST = Limits.LENGTH  # so that no formula is cut
# PEP 263: in a comment at the top it says how a file is to be read
_ENCODING = re.compile(r"coding(?=[:=])")


def escape_docstring(text: str) -> str:
    """A text on one line that no docstring between triple double quotes ends with, or is changed by."""
    line = one_line(" ".join(text.split()), _LONGEST)
    line = line.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return line[:-1] + '\\"' if line.endswith('"') else line


def escape_comment(text: str) -> str:
    """A text on one line for a comment, also on the first line of a file."""
    line = one_line(" ".join(text.split()), _LONGEST)
    return _ENCODING.sub("coding ", line)
