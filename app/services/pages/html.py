"""A page as one HTML file that needs nothing else and runs nothing: no script, no request, one style sheet inside."""

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from app.services.pages.layout import Document
from app.services.pages.legible import legible

HERE = files("app.services.pages")


def as_html(page: Document) -> str:
    """The page. What is text in it stays text: the template escapes all but the pictures."""
    return _template().render(page=page, style=Markup(_style()), policy=content_security_policy())


@cache
def content_security_policy() -> str:
    """Allows the page's own style sheet, by its hash, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


@cache
def _style() -> str:
    return HERE.joinpath("report.css").read_text("utf-8")


@cache
def _template() -> Template:
    loader = FunctionLoader(lambda name: HERE.joinpath(name).read_text("utf-8"))
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["legible"] = legible
    return made.get_template("report.html")
