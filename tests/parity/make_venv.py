"""Makes .venv-parity, where PyPI's cv_bridge works; tests/parity then compares our codec with it.

cv-bridge 1.13.0.post0 fails with OpenCV 5 and with NumPy above 2.2, hence an environment of its own.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = ("numpy>=1.26,<2.3", "opencv-python-headless>=4.6,<5", "cv-bridge==1.13.0.post0")
TARGET = Path(__file__).resolve().parents[2] / ".venv-parity"


def main() -> int:
    python = TARGET / "bin" / "python"
    if not python.exists():
        venv.create(TARGET, with_pip=True)
    return subprocess.call([str(python), "-m", "pip", "install", "-q", *REQUIREMENTS])


if __name__ == "__main__":
    sys.exit(main())
