"""What ``streamlit run`` executes.

In a folder of its own, because Streamlit (1) takes a folder ``pages/`` beside its script for its older kind of pages,
and would run a page's file alone if a link to that page is the first thing opened, and (2) puts the script's folder
first on ``sys.path``.
"""

from __future__ import annotations

from actsearch_dashboard.app import main

main()
