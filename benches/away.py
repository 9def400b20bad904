#!/usr/bin/env python3
"""Measures on a machine that has a GPU but no Rust: everything is built here and run there.

`pack` puts the program, the tests that run on a GPU and the benches into one file. `run`, started from a checkout of the
same commit on the other machine, unpacks it, runs them one after the other and leaves a log of each and a summary.
"""

import argparse
import io
import json
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACK = ROOT / "target" / "away.tar.xz"
TESTS = ["kernels", "pytorch", "engine", "determinism", "precision", "recipes", "autotune"]
BENCHES = ["kernels", "step"]

EXAMPLES = """\
examples:
  Here:
    benches/away.py pack
  There, in a checkout of the same commit, with target/away.tar.xz copied to it:
    benches/away.py run results
    benches/away.py run results --only check,tests,compare --python ~/torch/bin/python
"""


def executables():
    """What cargo builds in release mode: (kind, name, path)."""
    for command in (["build"], ["test", "--no-run"], ["bench", "--no-run"]):
        command = ["cargo", *command, *([] if command[0] == "bench" else ["--release"]), "--message-format=json-render-diagnostics"]
        printed = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
        for line in printed.splitlines():
            message = json.loads(line)
            if message.get("executable") and message["reason"] == "compiler-artifact":
                target = message["target"]
                yield target["kind"][0], target["name"], pathlib.Path(message["executable"])


def pack(arguments):
    wanted = {("bin", "cifar-gpu"), *(("test", name) for name in TESTS), *(("bench", name) for name in BENCHES)}
    found = {}
    for kind, name, path in executables():
        # `cargo test` builds the program's own test harness under the same name, later.
        found.setdefault((kind, name), path)
    missing = wanted - found.keys()
    if missing:
        raise SystemExit(f"cargo built no {sorted(missing)}")
    arguments.file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, tarfile.open(arguments.file, "w:xz", preset=6) as archive:
        for kind, name in sorted(wanted):
            stripped = pathlib.Path(folder) / "stripped"
            subprocess.run(["strip", "-o", stripped, found[kind, name]], check=True)
            archive.add(stripped, f"{kind}/{name}")
        commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
        entry = tarfile.TarInfo("commit")
        entry.size = len(commit.stdout)
        archive.addfile(entry, io.BytesIO(commit.stdout))
    print(f"{arguments.file}: {arguments.file.stat().st_size / 2**20:.1f} MiB, commit {commit.stdout.decode().strip()}")


def steps(arguments, folder):
    """What is run: (step, log's name, command)."""
    program = folder / "bin" / "cifar-gpu"
    yield "check", "devices", [program, "devices", "--check"]
    for name in TESTS:
        yield "tests", f"test-{name}", [folder / "test" / name]
    for arch in ("ygnet", "lenet5"):
        yield "tune", f"tune-{arch}", [program, "tune", "--arch", arch, "--device", "gpu", "--again"]
        yield "tune", f"tune-{arch}-f16", [program, "tune", "--arch", arch, "--device", "gpu", "--precision", "f16", "--again"]
    yield "benches", "bench-step", [folder / "bench" / "step", "--bench", "/gpu/"]
    yield "benches", "bench-kernels", [folder / "bench" / "kernels", "--bench", "/gpu/"]
    compare = [sys.executable, ROOT / "benches" / "compare.py", "--program", program, "--python", arguments.python]
    yield "compare", "compare", [
        *compare, "--arch", "ygnet,lenet5", "--batch", "64,256", "--steps", "100",
        "--json", arguments.out.resolve() / "compare.json",
        "--ours", "cifar-gpu=--device gpu",
        "--ours", "cifar-gpu f16=--device gpu --precision f16",
        "--torch", "PyTorch=--device cuda",
        "--torch", "PyTorch TF32=--device cuda --precision tf32",
        "--torch", "PyTorch f16=--device cuda --precision f16 --channels-last",
        *(part for peer in arguments.peer for part in ("--peer", peer)),
    ]  # fmt: skip


def run_one(command, timeout, **options):
    """The exit code of a command, or why it has none; at the limit it and all that it started are stopped."""
    try:
        process = subprocess.Popen(command, start_new_session=True, **options)
    except OSError as error:
        return error.strerror
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"stopped after {timeout} s"


def some_of(every):
    def parse(text):
        names = text.split(",")
        if unknown := set(names) - set(every):
            raise argparse.ArgumentTypeError(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(every)}")
        return names

    return parse


def run(arguments):
    arguments.out.mkdir(parents=True, exist_ok=True)
    failed = False
    with tempfile.TemporaryDirectory() as folder, open(arguments.out / "summary.txt", "w") as summary:
        folder = pathlib.Path(folder)
        with tarfile.open(arguments.file) as archive:
            archive.extractall(folder, filter="data")

        def tell(line):
            print(line, flush=True)
            print(line, file=summary, flush=True)

        tell(f"built from {(folder / 'commit').read_text().strip()}")
        # Tests find their fixtures, and benches put their results, under these.
        environment = os.environ | {"CARGO_MANIFEST_DIR": str(ROOT), "CRITERION_HOME": str(folder / "criterion")}
        for step, name, command in steps(arguments, folder):
            if step not in arguments.only:
                continue
            start = time.monotonic()
            with open(arguments.out / f"{name}.log", "w") as log:
                print("$", shlex.join(map(str, command)), file=log, flush=True)
                status = run_one(command, arguments.timeout, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
            failed |= status != 0
            tell(f"{name}: {'ok' if status == 0 else f'FAILED ({status})'}, {time.monotonic() - start:.1f} s")
    raise SystemExit(failed)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    packer = commands.add_parser("pack", help="build everything and put it into a file")
    packer.set_defaults(command=pack)
    runner = commands.add_parser("run", help="run what was packed")
    runner.set_defaults(command=run)
    for command in (packer, runner):
        command.add_argument("--file", type=pathlib.Path, default=PACK, help="the file [default: target/away.tar.xz]")
    every = ["check", "tests", "tune", "benches", "compare"]
    runner.add_argument("out", type=pathlib.Path, help="folder for the logs")
    runner.add_argument(
        "--only", type=some_of(every), default=every, help=f"some of {','.join(every)} [default: all]"
    )
    runner.add_argument("--python", default=sys.executable, help="a Python that has PyTorch [default: this one]")
    runner.add_argument("--peer", action="append", default=[], help="another program for compare.py, as it takes it")
    runner.add_argument("--timeout", type=float, default=600, help="most seconds that one program may take [default: 600]")
    arguments = parser.parse_args()
    arguments.command(arguments)


if __name__ == "__main__":
    main()
