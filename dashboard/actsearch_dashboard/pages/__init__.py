"""One file a page; each has a function ``render`` without arguments."""
