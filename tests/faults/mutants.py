"""Small defects, each of which some test must notice: a promise whose breach nobody would see is none."""

from dataclasses import dataclass

ATTEMPTS = "tests/app/services/test_attempts.py"
CLAIMING = "tests/app/services/test_claiming.py"
CHECKPOINT_ORDER = "tests/worker/training/test_checkpoint_order.py"
LEASES = "tests/app/store/test_leases.py"
REAPING = "tests/app/services/test_reaping.py"
TASKS = "tests/worker/test_tasks.py"
STOPPING = "tests/app/services/test_stopping.py"
SUPERVISOR = "tests/worker/test_supervisor.py"
UPKEEP = "tests/app/test_upkeep.py"


@dataclass(frozen=True)
class Mutant:
    """In `file` each old text, which stands there once, becomes the new one. `tests` must fail then.

    Of tests that run on both databases, those on SQLite are enough unless `on` says otherwise.
    """

    name: str
    file: str
    edits: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]
    on: str = "not postgresql"


def mutant(name: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    """One with a single edit."""
    return Mutant(name, file, ((old, new),), tests)


READ_LEASE = "        held_by(Lease(read.id, read.attempt, read.token_hash)),\n"
LEASE = "        jobs.c.{0} == lease.{0},\n"
MUTANTS = [
    mutant("guard_without_attempt", "app/store/leases.py", LEASE.format("attempt"), "", LEASES),
    mutant("guard_without_token", "app/store/leases.py", LEASE.format("token_hash"), "", LEASES),
    mutant("guard_without_state", "app/store/leases.py", "        jobs.c.state.in_(ACTIVE),\n", "", LEASES),
    mutant("guard_without_job", "app/store/leases.py", "        jobs.c.id == lease.job_id,\n", "", LEASES),
    Mutant(
        "reaper_by_id_only",
        "app/services/reaping.py",
        (
            (READ_LEASE, "        table.c.id == read.id,\n"),
            ("        table.c.lease_until == read.lease_until,\n", ""),
            ("        table.c.lease_until < now(),\n", ""),
        ),
        (REAPING,),
    ),
    mutant(
        "reaper_without_the_token_it_read",
        "app/services/reaping.py",
        f"{READ_LEASE}        table.c.lease_until == read.lease_until,\n",
        "        table.c.id == read.id,\n",
        REAPING,
    ),
    mutant(
        "reaper_without_the_expiry_it_read",
        "app/services/reaping.py",
        "        table.c.lease_until == read.lease_until,\n",
        "",
        REAPING,
    ),
    mutant(
        "task_reaper_without_the_expiry_it_read",
        "app/services/tasks.py",
        " & (table.c.lease_until == row.lease_until)\n    unchanged &= table.c.lease_until < now()\n",
        "\n",
        REAPING,
    ),
    mutant(
        "nudge_before_commit",
        "app/store/session.py",
        "            _commit(session)\n        self._announce(session)\n",
        "            self._announce(session)\n            _commit(session)\n",
        "tests/app/store/test_session.py",
    ),
    mutant(
        "lease_without_expiry",
        "app/store/jobs.py",
        "query.where(jobs.c.lease_until < now())",
        "query.where(jobs.c.lease_until < 0)",
        UPKEEP,
    ),
    mutant(
        "heartbeat_does_not_extend",
        "app/store/jobs.py",
        "lease_until=_smaller(until, jobs.c.deadline_at)",
        "lease_until=_smaller(jobs.c.lease_until, jobs.c.deadline_at)",
        ATTEMPTS,
    ),
    mutant(
        "lease_beyond_the_deadline",
        "app/store/jobs.py",
        "lease_until=_smaller(until, jobs.c.deadline_at)",
        "lease_until=until",
        ATTEMPTS,
    ),
    mutant(
        "report_not_deduplicated",
        "app/services/reports.py",
        "[event for event in events if event.seq > known]\n    _check_unbroken(known, new)",
        "list(events)",
        "tests/app/services/test_reports.py",
    ),
    mutant(
        "report_with_gaps",
        "app/services/reports.py",
        "    _check_unbroken(known, new)\n",
        "",
        "tests/app/services/test_reports.py",
    ),
    Mutant(
        "finish_without_guard",
        "app/services/attempts.py",
        (
            (' or attempt.token_hash != lease.token_hash or attempt.state == "lost"', ""),
            ("end.outcome, reason, held_by(lease), left=left", "end.outcome, reason, left=left"),
        ),
        (ATTEMPTS,),
    ),
    mutant(
        "key_in_a_transaction_of_its_own",
        "app/store/idempotency.py",
        "    return session.execute(statement).one_or_none() is not None\n",
        "    taken = session.execute(statement).one_or_none() is not None\n    session.commit()\n    return taken\n",
        "tests/app/services/test_jobs.py",
    ),
    mutant(
        "upkeep_without_grace",
        "app/upkeep.py",
        "        if time_s >= self._grace_until:\n",
        "        if time_s:\n",
        UPKEEP,
    ),
    mutant("upkeep_blind_to_gaps", "app/upkeep.py", "time_s - self._last_tick > MAX_GAP_S", "not time_s", UPKEEP),
    Mutant(
        "claim_without_condition",
        "app/store/queue.py",
        ((".limit(1).with_for_update(skip_locked=True)).one_or_none()", ".limit(1)).one_or_none()"),),
        (f"{CLAIMING}::test_workers_that_claim_at_once_get_each_job_once",),
        on="postgresql",
    ),
    mutant(
        "transition_from_any_state",
        "app/store/jobs.py",
        "allowed = jobs.c.state.in_(before(state))",
        "allowed = jobs.c.state.is_not(None)",
        "tests/app/services/test_transitions.py",
    ),
    mutant(
        "cancel_writes_the_state",
        "app/services/stopping.py",
        "    if row.state in WAITING:\n",
        "    if row.state not in FINAL:\n",
        ATTEMPTS,
    ),
    mutant(
        "a_paused_job_is_claimable",
        "app/store/queue.py",
        """spelled = jobs.c.state == literal_column(f"'{JobState.QUEUED}'")""",
        "spelled = jobs.c.state.in_([JobState.QUEUED, JobState.PAUSED])",
        STOPPING,
    ),
    mutant(
        "resume_forgets_the_nudge",
        "app/services/stopping.py",
        "        work_waits(session)\n",
        "",
        STOPPING,
    ),
    mutant(
        "resume_leaves_the_wish_to_pause",
        "app/services/stopping.py",
        "        row = _wished(session, row, None)\n",
        "        _wished(session, row, StopWish(row.stop_requested))\n",
        STOPPING,
    ),
    mutant(
        "resume_goes_on_waiting_for_the_next_try",
        "app/services/stopping.py",
        "JobState.QUEUED, available_at=now())",
        "JobState.QUEUED)",
        STOPPING,
    ),
    mutant(
        "a_cancel_does_not_win_over_a_pause",
        "app/services/stopping.py",
        "row.stop_requested != StopWish.CANCEL",
        "row.stop_requested is None",
        STOPPING,
    ),
    mutant(
        "a_wish_outlives_its_attempt",
        "app/store/jobs.py",
        '("worker_id", "token_hash", "lease_until", "deadline_at", "stop_requested")',
        '("worker_id", "token_hash", "lease_until", "deadline_at")',
        STOPPING,
    ),
    mutant(
        "a_wish_does_not_end_a_lost_attempt",
        "app/services/outcomes.py",
        "    if job.stop_requested and not ends_here:\n",
        "    if job.stop_requested and not ends_here and reason is None:\n",
        ATTEMPTS,
    ),
    mutant(
        "devices_of_an_ended_attempt_stay_held",
        "app/store/attempts.py",
        "    session.execute(delete(reservations).where(",
        "    assert (delete(reservations).where(",
        ATTEMPTS,
    ),
    mutant(
        "commits_survive_no_power_cut",
        "app/store/session.py",
        '"synchronous=FULL"',
        '"synchronous=NORMAL"',
        "tests/app/store/test_session.py",
    ),
    mutant(
        "the_group_is_not_killed",
        "worker/launcher.py",
        "if each.group == self.pid or (each.parent == me and each.pid != me)",
        "if each.pid == self.pid",
        f"{SUPERVISOR}::test_a_run_that_ignores_sigterm_is_killed_with_everything_it_started",
    ),
    mutant(
        "the_end_is_told_before_the_group_is_gone",
        "worker/attempt.py",
        "            await launcher.end_group()\n            return await exited\n",
        "            return await exited\n",
        f"{SUPERVISOR}::test_the_end_is_told_only_when_the_group_is_gone",
    ),
    mutant(
        "an_event_too_many_is_taken_for_acknowledged",
        "worker/spool.py",
        "[0][0].seq <= self.acknowledged:",
        "[0][0].seq <= self.acknowledged + 1:",
        "tests/worker/test_spool.py",
    ),
    mutant(
        "dead_supervisors_are_left_to_their_lease",
        "worker/claiming.py",
        "if record.recoveries >= MOST_RECOVERIES or ",
        "if record.recoveries >= 0 or ",
        f"{TASKS}::test_a_supervisor_that_died_while_no_worker_was_there_is_told_by_the_next",
    ),
    mutant(
        "checkpoint_written_under_its_own_name",
        "worker/training/checkpoint.py",
        'partial = folder / f".{name}.partial"',
        'partial = folder / f"{name}"',
        CHECKPOINT_ORDER,
    ),
    mutant(
        "checkpoint_folder_not_synced",
        "worker/training/checkpoint.py",
        "    _sync(final.parent)\n",
        "",
        CHECKPOINT_ORDER,
    ),
    mutant(
        "checkpoint_files_not_synced",
        "worker/training/checkpoint.py",
        '        file.flush()\n        os.fsync(file.fileno())\n    return {"sha256": hashing',
        '        file.flush()\n    return {"sha256": hashing',
        CHECKPOINT_ORDER,
    ),
]
