"""A curve as formulas: which catalog row it is, or which composed one, and how near each comes."""

from actsearch.naming.names import Name, name_curve

__all__ = ["Name", "name_curve"]
