"""What a followed job looks like where there is no terminal."""

from io import StringIO
from typing import Any

from app.cli.display import Bars, Lines, choose_display, event_line, figures

JOB: dict[str, Any] = {
    "id": "job_1",
    "state": "running",
    "phase": "training",
    "attempt": 1,
    "stop_requested": None,
    "pending": None,
    "spec": {"training": {"epochs": 5}},
    "progress": {"epoch": 2, "epochs": 5, "step": 300, "steps": 1000, "fraction": 0.3, "eta_s": 42.0},
    "latest_metrics": {"train/loss": 0.41, "val/accuracy": 0.93, "train/images_per_s": 3100.0},
}


def shown(*actions: tuple[str, Any]) -> list[str]:
    stream = StringIO()
    with Lines(stream) as display:
        for name, argument in actions:
            if name == "event":
                display.event(argument, JOB, fresh=True)
            else:
                display.job(argument)
    return stream.getvalue().splitlines()


def test_an_epoch_is_one_line() -> None:
    values = {"train/loss": 0.41234567, "val/accuracy": 0.93}
    event = {"type": "epoch", "data": {"phase": "training", "epoch": 2, "values": values}}
    assert shown(("event", event)) == [
        "training epoch 2/5  train/loss 0.4123  val/accuracy 0.93  3,100 images/s  42 s left"
    ]


def test_an_epoch_that_is_long_over_shows_no_pace_of_today() -> None:
    event = {"type": "epoch", "data": {"phase": "training", "epoch": 1, "values": {"train/loss": 0.5}}}
    assert event_line(event, JOB, fresh=False) == "training epoch 1/5  train/loss 0.5"


def test_the_baselines_metrics_have_their_plain_names() -> None:
    values = {"baseline/train/loss": 0.5, "baseline/val/accuracy": 0.25}
    event = {"type": "epoch", "data": {"phase": "baseline", "epoch": 1, "values": values}}
    assert event_line(event, JOB, fresh=False) == "baseline epoch 1/5  train/loss 0.5  val/accuracy 0.25"


def test_a_loss_that_is_no_number_is_shown_as_it_is() -> None:
    event = {"type": "epoch", "data": {"phase": "training", "epoch": 2, "values": {"train/loss": "NaN"}}}
    assert "train/loss NaN" in shown(("event", event))[0]


def test_the_same_state_is_said_once() -> None:
    waiting = JOB | {"state": "queued", "pending": {"reason": "no_worker", "detail": "None is up.", "position": 1}}
    assert shown(("job", waiting), ("job", waiting), ("job", JOB), ("job", JOB)) == [
        "queued: no_worker, position 1: None is up.",
        "running",
    ]


def test_a_new_attempt_and_a_wish_are_said() -> None:
    assert shown(("job", JOB | {"attempt": 2})) == ["running, attempt 2"]
    assert shown(("job", JOB | {"stop_requested": "cancel"})) == ["running, cancel requested"]


def test_a_paused_job_says_how_it_goes_on() -> None:
    paused = JOB | {"state": "paused", "id": "job_1", "phase": None}
    assert shown(("job", paused)) == ["paused: nothing of it runs until `trainyard resume job_1`"]
    assert shown(("job", JOB | {"stop_requested": "pause"})) == ["running, pause requested"]


def test_what_a_job_says_cannot_steer_the_terminal() -> None:
    event = {"type": "note", "data": {"level": "warning", "message": "a \x1b[31mred\x1b[0m [bold]file[/bold]"}}
    assert shown(("event", event)) == ["warning: a [31mred[0m [bold]file[/bold]"]


def test_events_for_programs_make_no_line() -> None:
    assert event_line({"type": "progress", "data": {}}, JOB, fresh=True) is None


def test_the_bar_shows_epoch_loss_accuracy_rate_and_time_left() -> None:
    assert figures(JOB) == ("epoch 2/5  step 300/1000  train/loss 0.41  val/accuracy 0.93  3,100 images/s  42 s left")


def test_a_terminal_gets_bars_and_everything_else_lines() -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(choose_display(Terminal()), Bars)
    assert isinstance(choose_display(StringIO()), Lines)
    terminal = Terminal()
    with Bars(terminal) as bars:
        bars.job(JOB)
        bars.line("[red]text, not markup")
    assert "epoch 2/5" in terminal.getvalue()
    assert "[red]text, not markup" in terminal.getvalue()


def test_a_method_of_compression_says_what_it_saved() -> None:
    costs = {"parameters_before": 4900, "parameters_after": 1200, "macs_before": 31_000, "macs_after": 8000}
    event = {"type": "compressed", "data": {"method": "low_rank", "layers_changed": 3, "layers_kept": 7, **costs}}
    assert (
        event_line(event, JOB, fresh=True) == "low_rank: 3 of 10 layers  parameters 4,900 > 1,200  macs 31,000 > 8,000"
    )
