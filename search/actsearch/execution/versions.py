"""What has to be the same on other machines."""

from __future__ import annotations

import platform
from collections.abc import Mapping

from actsearch import __version__

__all__ = ["describe", "describe_difference"]


def describe() -> dict[str, str]:
    """Of this process."""
    return {
        "Python": platform.python_version(),
        "system": platform.system(),
        "actsearch": __version__,
    }


def describe_difference(found: Mapping[str, str], executor: str) -> str:
    """Why a worker cannot train for this process; "" if it can.

    Args:
        found: what :func:`describe` says there.
        executor: whose worker it is.
    """
    ours = platform.python_version()
    if found["Python"].split(".")[:2] != ours.split(".")[:2]:
        return f"Python {found['Python']} runs on a worker of {executor}, and {ours} here: use the same one"
    if found["system"] != "Linux":
        return f"a worker of {executor} runs on {found['system']}: workers run on Linux"
    if found["actsearch"] != __version__:
        return (
            f"actsearch {found['actsearch']} is installed on a worker of {executor}, and {__version__} here: "
            "install the same on every node"
        )
    return ""
