"""The table of crossings: how each fault point is reached, and what must have come of it in the end.

A new point needs one row here; one that is reached in several ways has the others in `ALSO`. Who is stopped at it
follows from the process that reaches it: the service, the broker and the worker are started again by the yard, a
supervisor's work by its worker, a run's by the service.
"""

from app.contract.faults import Point

JOB = "job"  # a job of a stand-in run, from its POST to its success
CANCEL = "cancel"  # one that is cancelled while it runs
FROZEN = "frozen"  # one whose supervisor is frozen for longer than its lease
UNCLAIMED = "unclaimed"  # one that is submitted while no worker runs
IMPORT = "import"  # a data set's folder, from its POST to its readiness
FROZEN_IMPORT = "frozen import"  # the supervisor of its check is frozen for longer than its lease
TRAINING = "training"  # a job of the real training program on two ranks
EXPORTING = "exporting"  # the same, whose network is written in another format too
FOLDER_TRAINING = "folder training"  # of image files, which the run decodes into the worker's cache
CANCELLED_TRAINING = "cancelled training"
MISSED = "missed gate"  # a stand-in run whose model misses a gate: failed, with its files
MISSED_TRAINING = "missed training"
PAUSE = "pause"  # a job that is paused while it runs, and resumed when it rests
WARM = "warm"  # a job that is forked from the worker's warm parent
WARM_CANCEL = "warm cancel"  # one that is cancelled while it runs
RESUME = "resume"  # the same; the point is armed when it rests
FROZEN_PAUSE = "frozen pause"  # its supervisor is frozen before it can hear of the pause
PAUSED_TRAINING = "paused training"

CROSSINGS: dict[Point, str] = {
    Point.SUBMIT_BEFORE_COMMIT: JOB,
    Point.SUBMIT_BEFORE_ANSWER: JOB,
    Point.COMMIT_BEFORE_NUDGE: JOB,
    Point.CANCEL_BEFORE_COMMIT: CANCEL,
    Point.CANCEL_BEFORE_ANSWER: CANCEL,
    Point.PAUSE_BEFORE_COMMIT: PAUSE,
    Point.PAUSE_BEFORE_ANSWER: PAUSE,
    Point.RESUME_BEFORE_COMMIT: RESUME,
    Point.RESUME_BEFORE_ANSWER: RESUME,
    Point.CLAIM_BEFORE_COMMIT: JOB,
    Point.CLAIM_BEFORE_ANSWER: JOB,
    Point.START_BEFORE_COMMIT: JOB,
    Point.START_BEFORE_ANSWER: JOB,
    Point.HEARTBEAT_BEFORE_COMMIT: JOB,
    Point.HEARTBEAT_BEFORE_ANSWER: JOB,
    Point.REPORT_BEFORE_COMMIT: JOB,
    Point.REPORT_BEFORE_ANSWER: JOB,
    Point.FINISH_BEFORE_COMMIT: JOB,
    Point.FINISH_BEFORE_ANSWER: JOB,
    Point.TASK_FINISH_BEFORE_COMMIT: IMPORT,
    Point.TASK_FINISH_BEFORE_ANSWER: IMPORT,
    Point.REAP_BEFORE_UPDATE: FROZEN,
    Point.REAP_BEFORE_COMMIT: FROZEN,
    Point.REAP_TASK_BEFORE_UPDATE: FROZEN_IMPORT,
    Point.REMIND_BEFORE_NUDGE: UNCLAIMED,
    Point.CLAIMED_BEFORE_RECORD: JOB,
    Point.RECORDED_BEFORE_SPAWN: JOB,
    Point.SPAWNED_BEFORE_WATCH: JOB,
    Point.SUPERVISOR_BEFORE_NAME: JOB,
    Point.SUPERVISOR_BEFORE_LAUNCH: JOB,
    Point.FORKED_BEFORE_TOLD: WARM,
    Point.LAUNCHED_BEFORE_NAME: JOB,
    Point.NAMED_BEFORE_GO: JOB,
    Point.LAUNCHED_BEFORE_START: JOB,
    Point.STARTED_BEFORE_HEARTBEAT: JOB,
    Point.BEFORE_HEARTBEAT: JOB,
    Point.BEFORE_REPORT: JOB,
    Point.REPORTED_BEFORE_NOTED: JOB,
    Point.STOP_BEFORE_SIGNAL: CANCEL,
    Point.GONE_BEFORE_REPORT: JOB,
    Point.ENDED_BEFORE_FINISH: JOB,
    Point.FINISHED_BEFORE_FORGET: JOB,
    Point.TASK_BEFORE_FINISH: IMPORT,
    Point.CACHED_BEFORE_RENAME: FOLDER_TRAINING,
    Point.PREPARED_BEFORE_FORK: TRAINING,
    Point.AGREED_BEFORE_SAVE: PAUSED_TRAINING,
    Point.CHECKPOINT_BEFORE_RENAME: TRAINING,
    Point.CHECKPOINT_BEFORE_EVENT: TRAINING,
    Point.CHECKPOINT_BEFORE_DROP: TRAINING,
    Point.TRAINED_BEFORE_EXPORT: TRAINING,
    Point.WEIGHTS_BEFORE_CARD: TRAINING,
    Point.EXPORTED_BEFORE_MEASURE: TRAINING,
    Point.CONVERTED_BEFORE_MEASURE: EXPORTING,
    Point.MEASURED_BEFORE_END: TRAINING,
    Point.JUDGED_BEFORE_END: MISSED_TRAINING,
    Point.SAVED_BEFORE_STOPPED: CANCELLED_TRAINING,
}

ALSO: tuple[tuple[Point, str], ...] = (
    (Point.LAUNCHED_BEFORE_NAME, WARM),
    (Point.NAMED_BEFORE_GO, WARM),
    (Point.STOP_BEFORE_SIGNAL, WARM_CANCEL),
    (Point.GONE_BEFORE_REPORT, WARM),
    (Point.COMMIT_BEFORE_NUDGE, RESUME),
    (Point.CLAIM_BEFORE_COMMIT, RESUME),
    (Point.CLAIM_BEFORE_ANSWER, RESUME),
    (Point.REAP_BEFORE_COMMIT, FROZEN_PAUSE),
    (Point.STOP_BEFORE_SIGNAL, PAUSE),
    (Point.GONE_BEFORE_REPORT, PAUSE),
    (Point.ENDED_BEFORE_FINISH, PAUSE),
    (Point.FINISH_BEFORE_COMMIT, PAUSE),
    (Point.FINISH_BEFORE_ANSWER, PAUSE),
    (Point.FINISHED_BEFORE_FORGET, PAUSE),
    (Point.SAVED_BEFORE_STOPPED, PAUSED_TRAINING),
    (Point.ENDED_BEFORE_FINISH, MISSED),
    (Point.FINISH_BEFORE_COMMIT, MISSED),
    (Point.FINISH_BEFORE_ANSWER, MISSED),
)
