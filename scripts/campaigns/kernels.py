"""Random shapes for every kernel, on both devices, against the oracle of 64 bits, with guard words, and with and without checks."""

import os
import re
import subprocess

from campaigns import ROOT

# Rounds of a process: drivers keep the code of every kernel, some megabytes each.
ROUNDS_AT_A_TIME = 7


def run(arguments):
    cases = failures = 0
    for first in range(0, arguments.rounds, ROUNDS_AT_A_TIME):
        rounds = min(ROUNDS_AT_A_TIME, arguments.rounds - first)
        # Other shapes in each process.
        seed = arguments.seed + (first << 16)
        environment = {**os.environ, "ROUNDS": str(rounds), "SEED": str(seed)}
        command = ["cargo", "test", "--release", "--test", "kernels", "--", "random/"]
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        result = re.search(r"test result: \S+ (\d+) passed; (\d+) failed", ended.stdout)
        if result is None:
            print(ended.stdout[-2000:], ended.stderr[-2000:], sep="\n")
            return False
        cases += int(result[1])
        failures += int(result[2])
        if int(result[2]):
            print(f"seed {seed}, {rounds} rounds:", ended.stdout[ended.stdout.find("failures:") :])
        print(f"{cases} cases passed, {failures} failed", flush=True)
    return failures == 0


def add_to(campaigns):
    one = campaigns.add_parser("kernels", help=__doc__, description=__doc__)
    one.add_argument("--seed", type=int, required=True, help="seed of the shapes")
    one.add_argument("--rounds", type=int, default=98, help="rounds, each of 51 cases [default: 98]")
    one.set_defaults(run=run)
