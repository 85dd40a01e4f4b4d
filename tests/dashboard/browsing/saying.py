"""What a page says, as AppTest has it."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

__all__ = ["said"]


def said(app: AppTest) -> str:
    """All text of a page; nothing may have gone wrong on it."""
    assert not app.exception, app.exception
    kinds = (app.title, app.header, app.subheader, app.caption, app.markdown, app.text, app.code,
             app.info, app.success, app.warning, app.error, app.latex)  # fmt: skip
    shown = "\n".join(str(element.value) for kind in kinds for element in kind)
    return shown.replace("\\", "").replace("\u2060", "")
