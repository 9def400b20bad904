"""Coverage-guided fuzzing of every reader of files from users: no panic, no hang, and memory within its bound."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from campaigns import ROOT, fail

BUILD = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "fuzz"
# What libFuzzer needs to see which code an input reaches; none of it needs a nightly compiler.
FUZZ_FLAGS = (
    "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
    " -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
    " -Cllvm-args=-sanitizer-coverage-trace-compares"
    # Counters of functions that a target does not have are left out: libFuzzer looks at all of them after each input.
    " -Clink-arg=-Wl,--gc-sections,-z,start-stop-gc"
)
# Seeds beside those in fuzz/corpus.
FIXTURES = {
    "cifar_pickle": ["cifar/*"],
    "safetensors": ["formats/*.safetensors"],
    "torch": ["formats/*.pth", "formats/*.pt"],
    "npz": ["formats/*.npz"],
    "keras": ["formats/*.h5", "formats/*.keras"],
}
# Longest input in bytes, unless a seed is longer.
LONGEST = 8192
# Memory of the whole process in MiB, and time of one input in seconds: far above what readers promise, which they check themselves.
MOST_MEMORY, MOST_TIME = 2048, 10
# Crashes of a target after which it is given up.
MOST_CRASHES = 20


def build_fuzz_targets():
    """Builds all targets; the folder of their programs."""
    for program, hint in [("cargo", "install Rust from https://rustup.rs"), ("c++", "install g++ or clang: libFuzzer is C++")]:
        if shutil.which(program) is None:
            fail(f"{program} is missing: {hint}")
    version = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    host = re.search("host: (.*)", version)[1]
    # With a target, build scripts and macros are built without the flags.
    command = ["cargo", "build", "--release", "--manifest-path", ROOT / "fuzz/Cargo.toml", "--target", host]
    environment = {**os.environ, "RUSTFLAGS": FUZZ_FLAGS, "CARGO_TARGET_DIR": str(BUILD)}
    print(f"building the fuzz targets in {BUILD}", file=sys.stderr, flush=True)
    if subprocess.run([*command, "--quiet"], env=environment).returncode != 0:
        fail("the fuzz targets do not build")
    return BUILD / host / "release"


def fuzz_target(program, name, arguments):
    """Runs one target; a row of the table."""
    folder = BUILD / "campaign" / name
    seeds, found, crashes = folder / "seeds", folder / "found", folder / "crashes"
    for path in [seeds, crashes] + ([] if arguments.keep else [found]):
        shutil.rmtree(path, ignore_errors=True)
    for path in [seeds, crashes, found]:
        path.mkdir(parents=True, exist_ok=True)
    files = list((ROOT / "fuzz/corpus" / name).iterdir())
    files += [file for pattern in FIXTURES.get(name, []) for file in (ROOT / "tests/fixtures").glob(pattern)]
    hostile = ROOT / "tests/fixtures/hostile" / name
    files += list(hostile.iterdir()) if hostile.is_dir() else []
    for file in files:
        shutil.copy(file, seeds)
    longest = max([LONGEST, *(file.stat().st_size for file in files)])
    inputs = failures = attempt = 0
    coverage, began = None, time.monotonic()
    while failures < MOST_CRASHES:
        limits = [f"-runs={arguments.inputs - inputs}"] if arguments.inputs else []
        if not arguments.inputs:
            left = int(arguments.seconds - (time.monotonic() - began))
            if left < 1:
                break
            limits = [f"-max_total_time={left}"]
        run = subprocess.run(
            [program / name, *limits, f"-seed={arguments.seed + attempt}", f"-max_len={longest}", f"-timeout={MOST_TIME}",
             f"-rss_limit_mb={MOST_MEMORY}", "-print_final_stats=1", f"-artifact_prefix={crashes}/", found, seeds],
            capture_output=True, text=True, errors="replace",
        )  # fmt: skip
        (folder / f"log-{attempt}").write_text(run.stderr)
        numbers = [int(number) for number in re.findall(r"cov: (\d+)", run.stderr)]
        if numbers:
            coverage = (coverage or (numbers[0],))[0], numbers[-1]
        executed = re.search(r"number_of_executed_units: *(\d+)", run.stderr)
        inputs += int(executed[1]) if executed else 0
        attempt += 1
        if run.returncode == 0:
            break
        failures += 1
        reason = re.search(r"panicked at .*\n.*|ERROR: libFuzzer: .*|memory allocation of .*", run.stderr)
        print(f"{name}: {reason[0] if reason else run.stderr[-500:]}", file=sys.stderr, flush=True)
        if not executed or (arguments.inputs and inputs >= arguments.inputs):
            break
    seconds = time.monotonic() - began
    before, after = coverage or (0, 0)
    row = {"target": name, "inputs": inputs, "seconds": seconds, "coverage": after, "new": after - before, "crashes": failures}
    print(fuzz_row(row), flush=True)
    return row


def fuzz_row(row):
    rate = row["inputs"] / max(row["seconds"], 1e-9)
    return f"| {row['target']:<14} | {row['inputs']:>12,} | {rate:>10,.0f} | {row['coverage']:>8,} | {row['new']:>6,} | {row['crashes']:>7} |"


def fuzz(arguments):
    names = sorted(path.stem for path in (ROOT / "fuzz/fuzz_targets").glob("*.rs"))
    unknown = set(arguments.targets) - set(names)
    if unknown:
        fail(f"no target {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    program = build_fuzz_targets()
    print("| target         |       inputs | per second | branches |    new | crashes |")
    print("| -------------- | -----------: | ---------: | -------: | -----: | ------: |")
    rows = [fuzz_target(program, name, arguments) for name in arguments.targets or names]
    keys = ["inputs", "seconds", "coverage", "new", "crashes"]
    total = {"target": "all", **{key: sum(row[key] for row in rows) for key in keys}}
    print(fuzz_row(total))
    if arguments.json:
        arguments.json.write_text(json.dumps({"seed": arguments.seed, "rows": rows}, indent=1))
    if total["crashes"]:
        print(f"inputs that crashed: {BUILD}/campaign/*/crashes", file=sys.stderr)
    return total["crashes"] == 0


def add_to(campaigns):
    one = campaigns.add_parser("fuzz", help=__doc__, description=__doc__)
    one.add_argument("targets", nargs="*", metavar="TARGET", help="those of these names only [default: all]")
    one.add_argument("--seed", type=int, required=True, help="seed of the mutations, 1 or more")
    length = one.add_mutually_exclusive_group()
    length.add_argument("--seconds", type=int, default=60, help="time for each target [default: 60]")
    length.add_argument("--inputs", type=int, help="inputs for each target instead")
    one.add_argument("--keep", action="store_true", help="begin with the inputs that earlier campaigns found")
    one.add_argument("--json", type=Path, help="also write the table to this file")
    one.set_defaults(run=fuzz)
