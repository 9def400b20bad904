"""The campaigns, each a module with a function `add_to` that adds its subcommand."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def fail(message):
    sys.exit(f"error: {message}")
