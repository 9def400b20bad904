"""Losses of the GPU at random moments of training runs, which go on to the bits of an undisturbed one."""

import os
import subprocess

from campaigns import ROOT


def run(arguments):
    environment = {**os.environ, "LOSSES": str(arguments.losses), "SEED": str(arguments.seed)}
    command = ["cargo", "test", "--release", "--test", "faults", "--", "gpu/lost_devices", "--nocapture"]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode == 0


def add_to(campaigns):
    one = campaigns.add_parser("device", help=__doc__, description=__doc__)
    one.add_argument("--seed", type=int, required=True, help="seed of the moments")
    one.add_argument("--losses", type=int, default=100, help="losses [default: 100]")
    one.set_defaults(run=run)
