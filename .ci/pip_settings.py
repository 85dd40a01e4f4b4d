"""Prints what pip is set to on this machine as the settings of uv, which does not read pip's: lines for the shell.

Usage: eval "$(pip config list | python .ci/pip_settings.py)"
"""

from __future__ import annotations

import ast
import shlex
import sys

NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "cert": "SSL_CERT_FILE",
}

found: dict[str, list[str]] = {}
for line in sys.stdin:  # as global.index-url='https://...', or :env:.find-links='/folder'
    key, _, value = line.strip().partition("=")
    name = NAMES.get(key.rpartition(".")[2])
    if name is not None:
        values = found.setdefault(name, [])
        values += [item for item in str(ast.literal_eval(value)).split() if item not in values]
for name, values in found.items():
    one = name in ("UV_DEFAULT_INDEX", "SSL_CERT_FILE")
    print(f"export {name}={shlex.quote(values[-1] if one else ' '.join(values))}")
# the newest release of all indexes, as pip takes it
print("export UV_INDEX_STRATEGY=unsafe-best-match")
