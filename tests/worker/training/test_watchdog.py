from worker.training.watchdog import Watchdog


def test_slow_steps_are_waited_for_ten_times_as_long_as_they_take() -> None:
    watchdog = Watchdog(0.0, stall_s=300)
    for step in range(1, 6):
        assert not watchdog.stalled(step, step * 100.0)
    assert watchdog.limit_s == 1000
    assert not watchdog.stalled(5, 500.0 + 1000.0)
    assert watchdog.stalled(5, 500.0 + 1000.5)


def test_fast_steps_are_waited_for_as_long_as_the_least_limit() -> None:
    watchdog = Watchdog(0.0, stall_s=300)
    for second in range(1, 6):
        watchdog.stalled(second * 50, float(second))
    assert not watchdog.stalled(250, 305.0)
    assert watchdog.stalled(250, 305.5)


def test_a_sign_of_life_ends_the_silence_and_the_start_may_take_longer() -> None:
    watchdog = Watchdog(0.0, stall_s=300)
    assert not watchdog.stalled(0, 3600.0)
    assert not watchdog.stalled(1, 3700.0)
    assert Watchdog(0.0, stall_s=300).stalled(0, 3601.0)
