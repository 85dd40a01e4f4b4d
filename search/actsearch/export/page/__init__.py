"""One page of HTML with everything a study found, to be sent to somebody who has neither the study nor actsearch."""

from actsearch.export.page.page import make_page

__all__ = ["make_page"]
