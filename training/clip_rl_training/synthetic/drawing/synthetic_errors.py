"""What a user of the generator can cause and mend."""

from __future__ import annotations

from clip_rl_perception.errors import ClipRlError


class SynthError(ClipRlError, ValueError):
    """Scenes cannot be written as asked; the message says what was wrong, what was expected and what to do."""
