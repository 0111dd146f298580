"""The report over HTTP: JSON, Markdown, and a page that cannot be made to run or load anything; jobs side by side."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from app.contract.report import Report
from app.routes import examples, report_examples
from app.services.pages import content_security_policy
from tests.support.service import REPORT, SHA256

HTML, MARKDOWN = {"Accept": "text/html"}, {"Accept": "text/markdown"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "a | b](javascript:alert(1)) **bold** `code` http://evil.example www.evil.example",
    "line\nbreak\x07\u202egnp.exe",
    "{{ 7 * 7 }}{% raw %}",
    "]]></svg></style><style>*{color:red}</style>",
]
VOID = {"meta", "link", "br", "img", "hr", "input"}
NEITHER = {"script", "iframe", "object", "embed", "link", "base", "form", "img", "image", "use", "a", "foreignobject"}
OLD = REPORT.model_dump(mode="json", include={"before", "after", "ratios", "machine", "verified"})


class Page(HTMLParser):
    """All elements with their attributes, all text, and whether every element is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def check_harmless(page: Page) -> None:
    """Nothing in it runs, loads or leads anywhere."""
    assert {name for name, _ in page.elements} & NEITHER == set()
    for name, attributes in page.elements:
        assert not [each for each in attributes if each.startswith("on") or each in ("style", "src", "href")], name


@pytest.fixture
def finished(client, submit, worker):
    """Makes jobs that are over, with a report: their ids."""

    def make(report: dict[str, Any], outcome: str = "succeeded", events: tuple[Any, ...] = (), **spec: Any) -> str:
        job = submit(**spec)["id"]
        work = worker.claim()
        worker.start(work)
        sha256 = report.get("dataset_sha256")
        read = (
            ({"type": "data", "dataset_sha256": sha256, "train_images": 9, "validation_images": 1},) if sha256 else ()
        )
        if read or events:
            worker.report(work, *read, *events)
        failed = {"failure": {"code": "gate_missed", "message": "1 of 1 gates missed."}} if outcome == "failed" else {}
        worker.finish(work, outcome, report=report, **failed)
        return str(job)

    return make


def full(**changes: Any) -> dict[str, Any]:
    return report_examples.REPORT | changes


PLAN = {"type": "plan", "plan": examples.PLAN}
CURVES = tuple(
    {"type": "metrics", "step": step, "values": {"train/loss": value, "val/accuracy": step / 10}}
    for step, value in enumerate((2.0, 1.0, "NaN", 0.5, 1e308, -1e308, "Infinity", 0.25), 1)
)


def test_the_page_shows_every_part_of_the_report(client, finished):
    other = finished(full())
    job = finished(full(), events=(PLAN, *CURVES), name="digits")
    answer = client.get(f"/v1/jobs/{job}/report", headers=BROWSER)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-disposition"] == f'inline; filename="{job}-report.html"'
    page = Page(answer.text)
    check_harmless(page)
    headings = [page.words[index] for index in range(len(page.words)) if page.words[index].strip()]
    for title in ("Gates", "What each step did", "Classes", "Files", "Training", "Beside other jobs", "Layers"):
        assert title in headings, title
    for part in (
        "max_accuracy_drop",
        "4,926,634",
        "model.safetensors",
        "layer1.0.conv1",
        "gpu-host-1",
        other,
        "97.80 %",
    ):
        assert part in page.text, part
    # five bars of the stages, one of the classes, two curves, three Pareto pictures
    assert page.count("svg") == 5 + 1 + 2 + 3
    assert "nan" not in re.findall(r' d="([^"]*)"', answer.text.lower())
    assert "inf" not in "".join(re.findall(r' d="([^"]*)"', answer.text.lower()))


def test_the_page_may_load_nothing_but_its_own_style(client, finished):
    answer = client.get(f"/v1/jobs/{finished(full())}/report", headers=HTML)
    (policy,) = answer.headers.get_list("content-security-policy")
    assert policy == content_security_policy() + "; frame-ancestors 'none'"
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    page = Page(answer.text)
    inside = [each["content"] for name, each in page.elements if each.get("http-equiv") == "Content-Security-Policy"]
    assert inside == [content_security_policy()]
    assert page.count("style") == 1
    assert client.get("/healthz").headers["content-security-policy"].startswith("default-src 'none'; base-uri")


def test_the_styles_hash_is_that_of_what_is_sent(client, finished):
    import base64
    import hashlib

    text = client.get(f"/v1/jobs/{finished(full())}/report", headers=HTML).text
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in content_security_policy()
    assert "prefers-color-scheme: dark" in style[1]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(client, finished, name):
    """In a class, a stage, a file, a layer, a host, and in the other jobs of the Pareto picture."""
    changes = {
        "classes": [{"name": name, "images": 3, "before": 1.0, "after": 0.5}],
        "stages": [each | {"name": name} for each in report_examples.REPORT["stages"]],
        "exports": [report_examples.REPORT["exports"][0] | {"file": name, "runtime": name}],
        "machine": report_examples.REPORT["machine"] | {"host": name, "processor": name},
    }
    plan = {"type": "plan", "plan": examples.PLAN | {"layers": [examples.PLAN["layers"][0] | {"name": name}]}}
    label = re.sub(r"[\x00-\x1f]", " ", name)
    finished(full(**changes), name=label)
    job = finished(full(**changes), events=(plan, *CURVES), name=label)
    page = Page(client.get(f"/v1/jobs/{job}/report", headers=HTML).text)
    check_harmless(page)
    assert page.count("style") == 1
    shown = name.replace("\n", "\\u000a").replace("\x07", "\\u0007").replace("\u202e", "\\u202e")
    assert shown in page.text
    text = client.get(f"/v1/jobs/{job}/report", headers=MARKDOWN).text
    check_markdown(text)


def check_markdown(text: str) -> None:
    """Every table keeps its columns, and no name became markup: what could begin some is escaped."""
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202a-\u202e]", text)
    unescaped = re.sub(r"\\.", "", text)
    assert "<" not in unescaped
    assert "](" not in unescaped
    assert "`" not in unescaped
    assert "://" not in unescaped
    assert "www." not in unescaped
    widths: list[int] = []
    for line in unescaped.splitlines():
        if line.startswith("|"):
            widths.append(line.count("|"))
        else:
            assert len(set(widths)) <= 1, widths
            widths = []


def test_markdown_is_the_same_in_tables(client, finished):
    job = finished(full(), events=(PLAN, *CURVES), name="digits")
    answer = client.get(f"/v1/jobs/{job}/report", headers=MARKDOWN)
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.headers["content-disposition"] == f'inline; filename="{job}-report.md"'
    assert answer.text.startswith("# digits\n\n**Succeeded. 1 of 2 gates passed.**\n")
    assert "| min\\_parameter\\_ratio | 5 | 4.09 | missed | 0.91 |" in answer.text
    check_markdown(answer.text)


def test_a_report_of_an_earlier_version_has_its_page_too(client, finished):
    job = finished(OLD)
    for accept in (HTML, MARKDOWN, {}):
        answer = client.get(f"/v1/jobs/{job}/report", headers=accept)
        assert answer.status_code == 200
    page = Page(client.get(f"/v1/jobs/{job}/report", headers=HTML).text)
    check_harmless(page)
    assert "No gate was set." in page.text
    assert [each for each in ("Gates", "Classes", "Layers", "Beside other jobs") if each in page.words] == []


def test_a_job_that_missed_a_gate_says_so(client, finished):
    job = finished(full(), "failed")
    shown = client.get(f"/v1/jobs/{job}").json()
    assert (shown["state"], shown["failure"]["code"]) == ("failed", "gate_missed")
    page = Page(client.get(f"/v1/jobs/{job}/report", headers=HTML).text)
    assert "Failed, gate_missed: 1 of 1 gates missed." in page.text
    assert ("p", {"class": "verdict bad"}) in page.elements
    assert page.elements.count(("tr", {"class": "bad"})) == 1


@pytest.mark.parametrize("accept", [{}, HTML, MARKDOWN])
def test_what_is_known_already_is_not_sent_again(client, finished, accept):
    path = f"/v1/jobs/{finished(full())}/report"
    first = client.get(path, headers=accept)
    assert first.headers["vary"] == "Accept"
    again = client.get(path, headers=accept | {"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    head = client.head(path, headers=accept)
    assert (head.status_code, head.content) == (200, b"")
    assert {name: head.headers[name] for name in ("etag", "content-type", "content-length")} == {
        name: first.headers[name] for name in ("etag", "content-type", "content-length")
    }
    finished(full())  # beside others it is another page
    changed = client.get(path, headers=accept | {"If-None-Match": first.headers["etag"]}).status_code
    assert changed == (304 if not accept else 200)


def test_other_representations_are_406_and_no_report_is_404(client, finished, running):
    answer = client.get(f"/v1/jobs/{finished(full())}/report", headers={"Accept": "image/png"})
    assert (answer.status_code, answer.headers["content-type"]) == (406, "application/problem+json")
    for accept in ({}, HTML):
        missing = client.get(f"/v1/jobs/{running[0]}/report", headers=accept)
        assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")
        assert "running" in missing.json()["detail"]


def test_a_thousand_classes_are_in_the_report_and_not_in_the_job(client, finished):
    classes = [
        {"name": f"class {number}", "images": 5, "before": 0.9, "after": number / 1000} for number in range(1000)
    ]
    job = finished(full(classes=classes))
    assert len(client.get(f"/v1/jobs/{job}/report").json()["classes"]) == 1000
    assert client.get(f"/v1/jobs/{job}").json()["report"]["classes"] == []
    page = Page(client.get(f"/v1/jobs/{job}/report", headers=HTML).text)
    assert "Listed are the first 500 of 1000 classes; the JSON has all." in page.text


# compare


def of(accuracy: float, file_bytes: int, p95_s: float, sha256: str | None = SHA256, host: str = "a") -> dict[str, Any]:
    """A report with one figure of each kind."""
    times = [{"batch_size": 1, "p50_s": p95_s, "p95_s": p95_s, "runs": 30}]
    after = {"parameters": 9, "macs": file_bytes, "file_bytes": file_bytes, "latency": times, "accuracy": accuracy}
    return OLD | {"after": after, "dataset_sha256": sha256, "machine": OLD["machine"] | {"host": host}}


def compared(client, *jobs):
    answer = client.get("/v1/compare", params={"jobs": ",".join(jobs)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_optimal_ones_are_those_that_nothing_beats(client, finished):
    small, good = finished(of(0.90, 100, 0.2)), finished(of(0.95, 200, 0.1))
    beaten, equal = finished(of(0.94, 300, 0.3)), finished(of(0.95, 200, 0.4))
    found = compared(client, beaten, small, good, equal)
    assert [each["job"] for each in found["jobs"]] == [beaten, small, good, equal]
    optimal = {each["job"]: each["optimal"] for each in found["jobs"]}
    assert optimal == {
        small: ["file_bytes", "macs"], good: ["file_bytes", "p95_s", "macs"], beaten: [],
        equal: ["file_bytes", "macs"],
    }  # fmt: skip
    assert (found["warnings"], found["without_report"]) == ([], [])


def test_a_job_that_measured_an_onnx_file_competes_with_one_that_did_not(client, finished):
    plain, with_onnx = of(0.9, 100, 0.1), of(0.8, 100, 0.2)
    with_onnx["machine"] = with_onnx["machine"] | {"onnxruntime": "1.23.0"}
    first, second = finished(plain), finished(with_onnx)
    found = compared(client, first, second)
    assert found["warnings"] == []
    assert [each["optimal"] for each in found["jobs"]] == [["file_bytes", "p95_s", "macs"], []]
    page = client.get(f"/v1/jobs/{first}/report", headers=HTML).text
    assert "latency of one image" in page
    assert "other machines" not in page


def test_the_fronts_equal_those_of_a_naive_search(client):
    import random

    from app.contract.comparison import ComparedJob
    from app.services.comparing import with_optima

    drawn = random.Random(0)
    base = report_examples.COMPARISON["jobs"][0]
    for _ in range(50):
        jobs = [
            ComparedJob.model_validate(
                base | {"job": str(n), "accuracy": drawn.randint(1, 5) / 5, "file_bytes": drawn.randint(1, 5)}
            )
            for n in range(12)
        ]
        naive = {
            a.job
            for a in jobs
            if not any(
                (b.accuracy, -b.file_bytes) != (a.accuracy, -a.file_bytes)
                and b.accuracy >= a.accuracy
                and b.file_bytes <= a.file_bytes
                for b in jobs
            )
        }
        assert {each.job for each in with_optima(jobs) if "file_bytes" in each.optimal} == naive


def test_what_does_not_compare_is_warned_of_and_does_not_compete(client, finished, submit):
    first, other_machine = finished(of(0.9, 100, 0.1)), finished(of(0.9, 100, 0.01, host="b"))
    other_data, unknown = finished(of(0.99, 1, 0.1, "b" * 64)), finished(of(0.99, 1, 0.1, None))
    waiting = submit()["id"]
    found = compared(client, first, other_machine, other_data, unknown, waiting)
    assert found["without_report"] == [waiting]
    assert {each["code"]: each["jobs"] for each in found["warnings"]} == {
        "unknown_data": [unknown], "other_data": [other_data], "other_machine": [other_machine],
    }  # fmt: skip
    optimal = {each["job"]: each["optimal"] for each in found["jobs"]}
    everything = ["file_bytes", "p95_s", "macs"]
    assert optimal == {first: everything, other_machine: everything, other_data: everything, unknown: []}


@pytest.mark.parametrize(
    ("jobs", "pointer", "code"),
    [
        ("{a}", "/jobs", "too_few"),
        (",".join(f"job_{n}" for n in range(51)), "/jobs", "too_many"),
        ("{a},{b},{a}", "/jobs/2", "repeated"),
        ("{a},job_unknown", "/jobs/1", "unknown_job"),
        ("{a},,{b}", "/jobs/1", "unknown_job"),
        ("{a},' OR 1=1 --", "/jobs/1", "unknown_job"),
        ("{a},ds_1", "/jobs/1", "unknown_job"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_its_place(client, submit, jobs, pointer, code):
    named = jobs.format(a=submit()["id"], b=submit()["id"])
    answer = client.get("/v1/compare", params={"jobs": named})
    assert answer.status_code == 422
    assert [(each["parameter"], each["code"]) for each in answer.json()["errors"]] == [(pointer[1:], code)]


def test_without_jobs_there_is_nothing_to_compare(client):
    (told,) = client.get("/v1/compare").json()["errors"]
    assert told == {"parameter": "jobs", "detail": "This field is required.", "code": "missing"}
    assert client.get("/v1/compare", params={"jobs": "a" * 6000}).status_code == 422


def test_the_example_of_the_document_is_a_whole_report():
    assert Report.model_validate(report_examples.REPORT).model_dump(mode="json") == report_examples.REPORT
