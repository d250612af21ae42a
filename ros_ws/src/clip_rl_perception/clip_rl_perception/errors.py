"""The base of every error that a user can cause and mend. Below the ground floor: imports nothing."""

from __future__ import annotations


class ClipRlError(Exception):
    """Something outside the program is not as it must be: a file, an argument, a device, a checkpoint.

    The message is one line that says what was wrong, what was expected and what to do; commands print it alone and
    exit with status 2. Anything else that is raised is a defect of ours and keeps its traceback.
    """
