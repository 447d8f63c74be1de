"""What the help of a command says of options that may be left out, where the value they have then is no word for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import arg

OptionalText = Annotated[str | None, arg(help_behavior_hint="(optional)")]
OptionalPath = Annotated[Path | None, arg(help_behavior_hint="(optional)")]
