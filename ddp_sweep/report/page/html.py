"""The page as one HTML file: templates, styles and the one small script, all inside."""

from __future__ import annotations

import base64
import functools
import hashlib
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ddp_sweep.report.page.palette import SCHEME
from ddp_sweep.shown_text import shown

if TYPE_CHECKING:
    from ddp_sweep.report.page.build import PageView

__all__ = ["render_page"]


@functools.cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("ddp_sweep.report.page"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_page(page: PageView) -> str:
    """The page; every text in it is escaped, and the browser is told to load nothing.

    The SVG of a chart is set as it is: its texts were escaped when it was drawn.
    """
    templates = _templates()
    style = templates.get_template("report.css").render(scheme=SCHEME)
    script = templates.get_template("report.js").render()
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; "
        f"style-src {_digest(style)}; script-src {_digest(script)}"
    )
    return templates.get_template("report.html").render(
        page=page,
        policy=policy,
        style=Markup(style),
        script=Markup(script),
        drawn={figure.key: Markup(figure.svg) for figure in page.figures},
    )


def _shown(value: object) -> object:
    """Text as it is shown; what is markup of ours stays as it is."""
    return shown(value) if type(value) is str else value


def _digest(text: str) -> str:
    """What the policy calls this very text: anything else is neither run nor applied."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
