"""A job's report as a page for people: what it says stands in `content`, how it looks in `markdown` and `html`."""

from app.services.pages.content import document
from app.services.pages.html import as_html, content_security_policy
from app.services.pages.markdown import as_markdown

__all__ = ["as_html", "as_markdown", "content_security_policy", "document"]
