"""A folder for ``serve.py`` alone; see there."""
