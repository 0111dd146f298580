"""How a command ends: the exit codes, and the error that a user can act on."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of `trainyard`; the meaning of each stands in `MEANING` and in `trainyard --help`."""

    SUCCEEDED = 0
    FAILED = 1
    USAGE = 2
    CANCELLED = 3
    REFUSED = 4
    UNREACHABLE = 5
    DETACHED = 130


MEANING: dict[Exit, str] = {
    Exit.SUCCEEDED: "done; with --follow and watch: the job succeeded",
    Exit.FAILED: "the job (or data set) failed, or the command could not do its work",
    Exit.USAGE: "the command line, or a file that it names, is wrong",
    Exit.CANCELLED: "the job was cancelled",
    Exit.REFUSED: "the service refused the request; the reason is on stderr",
    Exit.UNREACHABLE: "no service answers, or it has no answer now",
    Exit.DETACHED: "Ctrl-C; a followed job goes on",
}


class CommandFailed(Exception):
    """The command cannot go on. The message is for the user: what happened, and the way out."""

    def __init__(self, message: str, exit_code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
