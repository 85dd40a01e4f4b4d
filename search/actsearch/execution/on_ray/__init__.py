"""Trials on a Ray cluster."""

from __future__ import annotations

from actsearch.execution.on_ray.executor import Ray

__all__ = ["Ray"]
