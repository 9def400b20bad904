"""SIGKILL at random moments of training runs, which are resumed until they end with the bits of an undisturbed one."""

import random
import time

from campaigns.training import Training, results


def run(arguments):
    training = Training(arguments.device)
    rng = random.Random(arguments.seed)
    began = time.monotonic()
    training.check("train", *training.recipe, "--out", training.folder / "timed")
    whole = time.monotonic() - began
    kills = runs = resumed = 0
    wrong = []
    while kills < arguments.kills:
        runs += 1
        run = training.folder / f"run-{runs}"
        finished = False
        while not finished:
            begin = training.begin_or_resume(run)
            resumed += begin[1] == "--resume"
            process = training.start(*begin)
            if kills < arguments.kills:
                time.sleep(rng.uniform(0, whole))
            else:
                process.wait()
            if process.poll() is None:
                process.kill()
                kills += 1
            _, said = process.communicate()
            finished = process.returncode == 0 or "it is complete" in said
            if not finished and process.returncode >= 0:
                wrong.append(f"run {runs} ended with {process.returncode}: {said}")
                break
        if finished and results(run) != training.expected:
            wrong.append(f"run {runs} came out differently")
    training.close()
    print(f"{kills} kills, {resumed} times gone on, {runs} runs, {len(wrong)} of them wrong, {time.monotonic() - began:.0f} s")
    print("\n".join(wrong), end="\n" if wrong else "")
    return not wrong


def add_to(campaigns):
    one = campaigns.add_parser("kill", help=__doc__, description=__doc__)
    one.add_argument("--seed", type=int, required=True, help="seed of the moments")
    one.add_argument("--kills", type=int, default=200, help="kills [default: 200]")
    one.add_argument("--device", default="cpu", help="device of the runs [default: cpu]")
    one.set_defaults(run=run)
