"""`make demo`: a service of its own, one real training job from the submit to the checked model file, a clean stop."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from app.cli.display import choose_display
from app.cli.download import download
from app.cli.exits import CommandFailed
from app.cli.following import Following, closing_line, failure_block
from app.cli.jobs import post_spec
from app.cli.output import size
from app.cli.place import api_file, service_url
from app.cli.processes import PidFile
from app.cli.reports import print_gates, print_report
from app.cli.results import artifact_list
from app.cli.service import Service
from app.cli.yard import STOP_S, end_everything

CHECKOUT = Path(__file__).parents[2]
SPEC = CHECKOUT / "docs" / "examples" / "digits.json"
HOME = CHECKOUT / ".demo"
START_S = 90.0
STOP_SLACK_S = 5.0


def main() -> None:
    """Run the demo; the last line says how it went, and so does the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with serving(HOME):
            last_line, done = show_a_job(Service())
    except CommandFailed as failed:
        last_line, done = f"demo: failed: {failed}", False
    except KeyboardInterrupt:
        last_line, done = "demo: interrupted", False
    print(last_line)
    sys.exit(0 if done else 1)


def show_a_job(service: Service) -> tuple[str, bool]:
    """Submit the spec, follow it, fetch what it made. Returns the demo's last line and whether all went well."""
    print(f"Submitting {SPEC.relative_to(CHECKOUT)}: digits, 3 augmentations, 2 compressions, DDP on 2 processes.")
    job = post_spec(service, SPEC.read_bytes(), str(uuid4()))
    job = Following(service, job["id"], choose_display(sys.stdout)).to_the_end()
    print(closing_line(job), end="\n\n")
    if job["state"] != "succeeded":
        print(failure_block(job))
        print_gates(job["report"] or {})
        return f"demo: {job['id']} failed: {(job['failure'] or {}).get('code', job['state'])}", False
    print_report(job["report"])
    print_files(service, job["id"])
    print_by_hand(job["id"])
    return f"demo: {job['id']} succeeded, val/accuracy {job['report']['after']['accuracy']:.2f}", True


def print_files(service: Service, job_id: str) -> None:
    """Download every artifact and say where it lies."""
    print("\nDownloaded, each checked by its SHA-256:")
    for artifact in artifact_list(service, job_id):
        path = download(service, job_id, artifact, HOME / "model", force=True)
        print(f"  {path}  ({size(artifact['size_bytes'])})")


def print_by_hand(job_id: str) -> None:
    """The same with curl."""
    url = "http://127.0.0.1:8000"
    print(f"""
The same by hand, after `trainyard serve` (or, with this demo's results: trainyard serve --home {HOME.name}):
  curl -sX POST {url}/v1/jobs -H 'Content-Type: application/json' -d @{SPEC.relative_to(CHECKOUT)}
  curl -s {url}/v1/jobs/{job_id}
  curl -s '{url}/v1/jobs/{job_id}/metrics?names=val/accuracy'
  curl -sN {url}/v1/jobs/{job_id}/events -H 'Accept: text/event-stream'
  curl -sO {url}/v1/jobs/{job_id}/artifacts/model.safetensors
""")


@contextmanager
def serving(home: Path) -> Iterator[None]:
    """A service on a free port in a fresh home, stopped at the end. Raises `CommandFailed` when it does not start."""
    log = fresh(home)
    for name in [name for name in os.environ if name.startswith("TRAINYARD_")]:
        del os.environ[name]
    os.environ["TRAINYARD_HOME"] = str(home)
    arguments = [sys.executable, "-m", "app.cli", "serve", "--port", "0"]
    with log.open("wb") as output:
        serve = subprocess.Popen(arguments, stdout=output, stderr=output, start_new_session=True)
    try:
        _wait_until_it_serves(serve, log)
        print(f"A service of its own listens on {service_url()}, its home is {home}.")
        yield
    finally:
        _stop(serve)


def fresh(home: Path) -> Path:
    """An empty home that git ignores; what a killed demo left is ended and removed. Returns the log of its `serve`."""
    earlier = PidFile(home / "demo.pid")
    if earlier.living():
        raise CommandFailed(f"another demo runs in {home}: wait for it, or stop it.")
    end_everything(home / "run")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700)
    (home / ".gitignore").write_text("*\n")
    earlier.write(os.getpid())
    return home / "serve.log"


def _wait_until_it_serves(serve: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_S
    while "listening on" not in log.read_text() or not api_file().exists():
        if serve.poll() is not None or time.monotonic() > deadline:
            raise CommandFailed(f"the service did not start:\n{log.read_text()}")
        time.sleep(0.1)


def _stop(serve: "subprocess.Popen[bytes]") -> None:
    """As Ctrl-C would."""
    serve.send_signal(signal.SIGINT)
    try:
        serve.wait(STOP_S + STOP_SLACK_S)
        print("The service has stopped; nothing is left running.")
    except subprocess.TimeoutExpired:
        serve.kill()
        raise CommandFailed(f"the service did not stop within {STOP_S:.0f} s.") from None


if __name__ == "__main__":
    main()
