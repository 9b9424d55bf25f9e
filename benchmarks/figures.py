"""What every figure says of where it was measured."""

from __future__ import annotations

import os
import platform
from typing import Any


def machine() -> dict[str, Any]:
    """The machine that a figure is of."""
    return {"cores": os.cpu_count(), "processor": platform.machine(), "python": platform.python_version()}
