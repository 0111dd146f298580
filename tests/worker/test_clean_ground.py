"""An attempt whose number was given before, as a restored database does."""


def test_an_attempt_that_an_earlier_life_has_run_starts_with_nothing_of_it(
    door, broker, start_worker, job_work, tmp_path, eventually
):
    """A restored database gives an attempt's number again: the old events must not be told as the new one's."""
    work = job_work()
    before = tmp_path / "storage" / "1"
    (before / "checkpoints").mkdir(parents=True)
    (before / "events.jsonl").write_text('{"seq":1,"time":"2026-11-21T00:00:00Z","type":"stopped","saved":true}\n')
    door.waiting.append(work)

    start_worker()

    eventually(lambda: door.finishes, "the attempt ended")
    assert door.finishes[0]["outcome"] == "succeeded"
    assert [event["type"] for event in door.events] == ["metrics"] * 3 + ["succeeded"]
    kept = [path for path in before.parent.iterdir() if path.name.startswith("1.before-")]
    assert [(each / "events.jsonl").exists() for each in kept] == [True]
