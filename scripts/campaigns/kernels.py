"""Random shapes for every kernel, on both devices, against the oracle of 64 bits, with guard words, and with and without checks."""

import os
import subprocess

from campaigns import ROOT


def run(arguments):
    environment = {**os.environ, "ROUNDS": str(arguments.rounds), "SEED": str(arguments.seed)}
    command = ["cargo", "test", "--release", "--test", "kernels", "--", "random/", "--quiet"]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode == 0


def add_to(campaigns):
    one = campaigns.add_parser("kernels", help=__doc__, description=__doc__)
    one.add_argument("--seed", type=int, required=True, help="seed of the shapes")
    one.add_argument("--rounds", type=int, default=100, help="rounds, each of about 50 cases [default: 100]")
    one.set_defaults(run=run)
