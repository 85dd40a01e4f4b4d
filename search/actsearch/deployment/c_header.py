"""Tables and hinges as a C header: C99, no library, one function."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from actsearch.activations import HingeSum
from actsearch.activations.lookup_table import LookupTable
from actsearch.errors import ActivationError

__all__ = ["c_name", "write_hinges", "write_table"]

_HEADER = """\
/* {title}
{words}
 */
#ifndef {guard}
#define {guard}

{body}
#endif /* {guard} */
"""
_KEYWORDS = frozenset(
    """
    auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
""".split()
)


def c_name(name: str | None, label: str) -> str:
    """The name of the function: the given one, or one made from the activation's.

    Raises:
        ActivationError: the given one is no name in C.
    """
    if name is None:
        made = re.sub(r"\W+", "_", label, flags=re.ASCII).strip("_").lower()[:40].strip("_")
        return (
            made
            if re.fullmatch(r"[a-z]\w*", made) and made not in _KEYWORDS
            else f"act_{made}".rstrip("_")
        )
    if (
        not isinstance(name, str)
        or not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)
        or name in _KEYWORDS
    ):
        raise ActivationError(f"{name!r} is not a name for a function in C")
    return name


def write_table(table: LookupTable, name: str, label: str, notes: Sequence[str] = ()) -> str:
    """A table of int8 or int16 with its function; ``notes`` are what a user of the header should know."""
    source, target, bits = table.input, table.output, table.input.bits
    kind = f"int{bits}_t"
    rows = textwrap.fill(
        ", ".join(map(str, table.entries)), 96, initial_indent="    ", subsequent_indent="    "
    )
    body = f"#include <stdint.h>\n\nstatic const {kind} {name}_table[{len(table.entries)}] = {{\n{rows}}};\n\n"
    body += f"static inline {kind} {name}({kind} x)\n{{\n"
    if bits == 8:
        body += f"    return {name}_table[x + 128];\n}}\n"
    else:
        body += (
            "    const int32_t code = (int32_t)x + 32768; /* 512 spans of 128 codes */\n"
            f"    const int32_t base = {name}_table[code / 128], next = {name}_table[code / 128 + 1];\n"
            "    const int32_t rise = (next - base) * (code % 128) + 64;\n"
            "    return (int16_t)(base + (rise >= 0 ? rise / 128 : -((127 - rise) / 128))); /* rounded down */\n}\n"
        )
    beyond = ""
    if table.saturated:
        share = f"{table.saturated:.1%} of the input codes"
        beyond = f", but for {share}, whose value is beyond the output's range"
    words = (
        f"{_codes('input', source.scale, source.zero_point)}; {_codes('output', target.scale, target.zero_point)}. "
        f"At most {table.max_error:.3g} output codes from the formula{beyond}."
    )
    return _wrap(f"{label}, int{bits}", (words, *notes), name, body)


def _codes(side: str, scale: float, zero_point: int) -> str:
    return f"An {side} code stands for {scale!r} * (code - {zero_point})"


def write_hinges(
    fit: HingeSum,
    lines: tuple[float, float, tuple[tuple[float, float], ...]],
    name: str,
    label: str,
    error: float,
    notes: Sequence[str] = (),
) -> str:
    """A sum of hinges in single precision.

    Args:
        fit: with the interval.
        lines: height at 0 and slope at the left, and (weight, knot) of each hinge.
        name: of the function.
        label: of the activation.
        error: sure bound on the interval.
        notes: what a user of the header should know.
    """
    height, slope, hinges = lines
    body = f"static inline float {name}(float x)\n{{\n    float y = {_float(height)} + {_float(slope)} * x;\n"
    for weight, knot in hinges:
        body += f"    if (x > {_float(knot)}) y += {_float(weight)} * (x - {_float(knot)});\n"
    body += "    return y;\n}\n"
    low, high = fit.interval
    words = f"Straight lines; from {low:g} to {high:g} at most {error:.3g} from the formula, rounding aside."
    return _wrap(f"{label}, {len(hinges)} hinges", (words, *notes), name, body)


def _float(value: float) -> str:
    text = f"{value:.9g}"
    text = text if any(mark in text for mark in ".e") else f"{text}.0"
    return f"({text}f)" if value < 0 else f"{text}f"


def _wrap(title: str, words: Sequence[str], name: str, body: str) -> str:
    def comment(text: str) -> str:
        return text.replace("*/", "* /").replace("/*", "/ *")

    lines = [line for part in words for line in textwrap.wrap(comment(part), 96)]
    return _HEADER.format(
        title=comment(" ".join(title.split())),
        words="\n".join(f" * {line}" for line in lines),
        guard=f"{name.upper()}_H",
        body=body,
    )
