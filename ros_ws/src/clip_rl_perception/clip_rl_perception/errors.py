"""The base of every error that a user can cause and mend. Below the ground floor: imports nothing."""

from __future__ import annotations


class ClipRlError(Exception):
    """Something outside the program is not as it must be: a file, an argument, a device, a checkpoint.

    The message is one line that says what was wrong, what was expected and what to do; commands print it alone and
    exit with status 2. Anything else that is raised is a defect of ours and keeps its traceback.
    """


def one_line(error: BaseException, limit: int | None = None) -> str:
    """What an error says as a single line, of at most `limit` characters; its type's name where it says nothing."""
    told = " ".join(str(error).split())
    if no_temporary_folder(error):
        told += "; set TMPDIR to a folder that can be written to"
    return told[:limit] or type(error).__name__


def no_temporary_folder(error: BaseException) -> bool:
    """True for what Python's tempfile raises where everything is read-only."""
    return isinstance(error, FileNotFoundError) and "No usable temporary directory" in str(error)


def named_line(error: BaseException) -> str:
    """`one_line`, begun with the error's type unless it is one of ours."""
    line, kind = one_line(error), type(error).__name__
    return line if isinstance(error, ClipRlError) or line == kind else f"{kind}: {line}"
