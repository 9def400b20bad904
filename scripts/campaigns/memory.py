"""Training steps, on the CPU and on the GPU, that take no more memory than the first ones."""

import os
import subprocess

from campaigns import ROOT


def run(arguments):
    environment = {**os.environ, "STEPS": str(arguments.steps)}
    # One after the other: they measure the memory of the process.
    command = ["cargo", "test", "--release", "--test", "faults", "--", "constant_memory", "--nocapture", "--test-threads", "1"]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode == 0


def add_to(campaigns):
    one = campaigns.add_parser("memory", help=__doc__, description=__doc__)
    one.add_argument("--steps", type=int, default=10_000, help="steps on each device [default: 10000]")
    one.set_defaults(run=run)
