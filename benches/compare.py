#!/usr/bin/env python3
"""Times cifar-gpu beside other programs and prints a Markdown table.

All programs run in turn, one at a time, for several rounds, in alternating order, so that whatever else the machine
does falls on all of them. What counts is the median of the rounds, and the ratio to another program within a round.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TORCH_STEP = ROOT / "benches" / "peers" / "torch_step.py"

EXAMPLES = """\
Each program is NAME=SOMETHING: the name is what the table calls it.

examples:
  Ours on the CPU beside PyTorch on the CPU, as found by this Python:
    cargo build --release
    benches/compare.py --ours 'cifar-gpu=--device cpu' --torch 'PyTorch=' --arch lenet5,ygnet

  On a software GPU, with small batches:
    benches/compare.py --ours 'cifar-gpu=--device gpu' --batch 8 --steps 5

  On an NVIDIA GPU, with the PyTorch of another Python:
    benches/compare.py --ours 'cifar-gpu=--device gpu' --python ~/torch/bin/python --batch 64,256 --steps 100 \\
      --torch 'PyTorch f32=--device cuda' \\
      --torch 'PyTorch TF32=--device cuda --precision tf32' \\
      --torch 'PyTorch f16=--device cuda --precision f16 --channels-last'

  Any other program. It must print `best=X` and `median=Y`, in images a second, or JSON as `cifar-gpu bench` does:
    benches/compare.py --peer 'burn=burn-bench wgpu {arch} {mode} {batch} {steps} {warmup}'
"""

# What programs other than ours and torch_step.py print.
PRINTED = re.compile(r"\bbest=([0-9]+(?:\.[0-9]+)?).*?\bmedian=([0-9]+(?:\.[0-9]+)?)")


class Failure(Exception):
    """A program did not do what it was started for."""


def named(text):
    name, equals, rest = text.partition("=")
    if not equals or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=…")
    return name.strip(), rest


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def listed(convert):
    def parse(text):
        return [convert(part.strip()) for part in text.split(",")]

    return parse


def mode(text):
    if text not in ("train", "infer"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither train nor infer")
    return text


def parse_arguments(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--ours", type=named, action="append", metavar="NAME=OPTIONS", help="cifar-gpu bench with these options")
    add("--torch", type=named, action="append", default=[], metavar="NAME=OPTIONS", help="peers/torch_step.py likewise")
    add("--peer", type=named, action="append", default=[], metavar="NAME=COMMAND", help="another program; "
        "{arch}, {mode}, {batch}, {steps} and {warmup} are replaced")
    add("--arch", type=listed(str), default=["ygnet"], help="networks, separated by commas")
    add("--mode", type=listed(mode), default=["train"], help="train, infer, or train,infer")
    add("--batch", type=listed(positive), default=[64], help="images of a step; several, separated by commas")
    add("--steps", type=positive, default=20, help="steps timed in a run")
    add("--warmup", type=positive, default=3, help="steps before these")
    add("--rounds", type=positive, default=3, help="runs of each program")
    add("--timeout", type=positive, default=1800, metavar="SECONDS", help="longest run of a program")
    add("--program", type=pathlib.Path, help="our program (default: cargo's target folder, release)")
    add("--python", default=sys.executable, help="the Python that has PyTorch")
    add("--json", type=pathlib.Path, metavar="FILE", help="write every run into this file, too")
    options = parser.parse_args(arguments)
    options.ours = options.ours or [("cifar-gpu", "")]
    options.program = options.program or (
        pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "cifar-gpu"
    )
    names = [name for name, _ in options.ours + options.torch + options.peer]
    if len(set(names)) < len(names):
        parser.error("two programs have the same name")
    for name, command in programs(options):
        try:
            shlex.split(command)
        except ValueError as error:
            parser.error(f"{name}: {error}: {command}")
    return options


def programs(options):
    """Every program's name with its command, placeholders not yet replaced."""
    what = "--arch {arch} --mode {mode} --steps {steps} --warmup {warmup}"
    ours = f"{shlex.quote(str(options.program))} bench --json {what} --batch-size {{batch}}"
    torch = f"{shlex.quote(options.python)} {shlex.quote(str(TORCH_STEP))} {what} --batch {{batch}}"
    return (
        [(name, f"{ours} {rest}") for name, rest in options.ours]
        + [(name, f"{torch} {rest}") for name, rest in options.torch]
        + options.peer
    )


def fill(command, values):
    """The words of a command, its placeholders replaced; other braces stay as they are."""
    return [re.sub(r"\{(\w+)\}", lambda m: str(values.get(m[1], m[0])), word) for word in shlex.split(command)]


def parse_output(output):
    """What a program says of itself, from its last line that tells images a second."""
    for line in reversed(output.splitlines()):
        if line.startswith("{"):
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if isinstance(said, dict) and said.get("median_images_per_second"):
                best, median = said["best_images_per_second"], said["median_images_per_second"]
                version = said.get("version", "")
                # Our own program leaves its name out.
                version = f"cifar-gpu {version}" if version[:1].isdigit() else version
                said_by = ", ".join(part for part in (version, said.get("device")) if part)
                return {"best": best, "median": median, "said": said_by, "output": said}
        elif (found := PRINTED.search(line)) and float(found[2]) > 0:
            said_by = line[: found.start()].strip()
            return {"best": float(found[1]), "median": float(found[2]), "said": said_by, "output": line}
    raise Failure("it printed no images a second, neither as `best=X … median=Y` nor as JSON")


def run(command, timeout):
    """Runs a command; what it says of itself, or Failure."""
    start = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except OSError as error:
        raise Failure(f"{command[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        raise Failure(f"it ran longer than {timeout} s")
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise Failure("; ".join(lines[-2:]) or f"it ended with code {done.returncode}")
    return {**parse_output(done.stdout), "seconds": time.monotonic() - start}


def measure(options, setting, log):
    """All programs in turn on one setting: each one's runs by round, and the reasons of those that failed."""
    left = programs(options)
    values = {**setting, "steps": options.steps, "warmup": options.warmup}
    runs = {name: [] for name, _ in left}
    failures = {}
    for number in range(options.rounds):
        # There and back again, so that none is always first.
        for name, command in left if number % 2 == 0 else left[::-1]:
            if name in failures:
                continue
            try:
                result = run(fill(command, values), options.timeout)
                runs[name].append(result)
                log(f"round {number + 1}: {name}: {result['median']:.1f} images/s")
            except Failure as failure:
                failures[name] = str(failure)
                log(f"round {number + 1}: {name}: failed: {failure}")
    return runs, failures


def spread(values, digits=1):
    """The median of some values, with the least and the most."""
    middle, low, high = (f"{f(values):.{digits}f}" for f in (statistics.median, min, max))
    return middle if low == high else f"{middle} ({low}–{high})"


def table(runs, reference):
    """Markdown: images a second of every program, and how many times as fast the reference is."""
    lines = [
        f"| program | images/s, median | images/s, best | {reference} is … times as fast | what ran |",
        "|---|---:|---:|---:|---|",
    ]
    for name, results in runs.items():
        if not results:
            lines.append(f"| {name} | failed | | | |")
            continue
        ratio = ""
        if name != reference:
            # Round by round: both ran at about the same time.
            ratios = [ours["median"] / theirs["median"] for ours, theirs in zip(runs[reference], results)]
            ratio = spread(ratios, 2) if ratios else ""
        medians, best = spread([r["median"] for r in results]), max(r["best"] for r in results)
        lines.append(f"| {name} | {medians} | {best:.1f} | {ratio} | {results[0]['said']} |")
    return "\n".join(lines)


def machine():
    """The machine in one line."""
    model = platform.processor() or platform.machine()
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{model}, {cores} logical cores, {platform.system()} {platform.release()}"
    if hasattr(os, "getloadavg"):
        load = os.getloadavg()[0]
        text += f", load {load:.1f} at the start"
        if load > cores / 4:
            text += " (**other programs were running**)"
    try:
        commit = run_git("rev-parse", "--short", "HEAD") + ("+" if run_git("status", "--porcelain", "-uno") else "")
        text += f"; sources at {commit}"
    except (OSError, subprocess.CalledProcessError):
        pass  # Not a working copy: the program's version must do.
    return text


def run_git(*arguments):
    done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main():
    options = parse_arguments()
    if not options.program.exists():
        sys.exit(f"error: there is no {options.program}\nhint: cargo build --release, or name it with --program")

    def log(text):
        print(text, file=sys.stderr, flush=True)

    where = machine()
    print(f"{where}\n")
    reference = options.ours[0][0]
    record, failed = {"machine": where, "settings": []}, False
    for arch in options.arch:
        for mode_name in options.mode:
            for batch in options.batch:
                setting = {"arch": arch, "mode": mode_name, "batch": batch}
                what = "training steps" if mode_name == "train" else "inference"
                log(f"{arch}, {what}, batches of {batch}")
                runs, failures = measure(options, setting, log)
                failed |= bool(failures)
                rounds = "1 round" if options.rounds == 1 else f"{options.rounds} rounds"
                print(f"**{arch}, {what}, batches of {batch}**: {rounds} of {options.steps} steps after "
                      f"{options.warmup} to warm up\n\n{table(runs, reference)}\n", flush=True)
                for name, reason in failures.items():
                    print(f"{name} failed: {reason}\n", flush=True)
                record["settings"].append({**setting, "steps": options.steps, "warmup": options.warmup,
                                           "runs": runs, "failures": failures})
                if options.json:
                    # Each time, so that what comes later cannot take it away.
                    try:
                        options.json.write_text(json.dumps(record, indent=1) + "\n")
                    except OSError as error:
                        sys.exit(f"error: writing {options.json}: {error.strerror}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
