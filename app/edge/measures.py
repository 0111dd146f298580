"""What Prometheus reads. Every label is bounded: routes by template, states by the enum, statuses by their class."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from starlette.types import Scope

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class HttpMeasures:
    """The registry of one app, with the times of its answers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._seconds = Histogram(
            "trainyard_http_request_seconds",
            "Time until the answer began; long polls that waited are left out.",
            ["method", "route", "status"],
            registry=self.registry,
        )

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count one answer."""
        if scope["state"].get("waited"):
            return
        method = scope["method"] if scope["method"] in METHODS else "OTHER"
        self._seconds.labels(method, _template(scope), f"{status // 100}xx").observe(seconds)

    def collect_from(self, read: Callable[[], Iterable[Metric]]) -> None:
        """Ask `read` for more metrics at each scrape."""
        self.registry.register(_AtScrape(read))

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)


class _AtScrape(Collector):
    def __init__(self, read: Callable[[], Iterable[Metric]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Nothing: to describe is to collect, and the database is not asked when the app is put together."""
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from self._read()


def _template(scope: Scope) -> str:
    """The route with its parameters unfilled; whatever matched none is one label."""
    return str(getattr(scope.get("route"), "path", "unmatched"))
