"""Faults of the disk below training runs: full, out of files, read-only, vanished, limited, in the way, damaged. Each ends in an error,
and after it is mended the run goes on to the bits of an undisturbed one. Linux, as root or where users may make name spaces."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

from campaigns import fail
from campaigns.training import Training, results

# Set in the name space of mounts that the campaign makes for itself.
INSIDE = "CIFAR_GPU_CAMPAIGN_INSIDE"
# Permissions do not stop a process that may override them.
UNPRIVILEGED = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def mount(folder, *options):
    subprocess.run(["mount", *options, "tmpfs", folder], check=True)


class Fault:
    """One fault: `before` prepares the place of the run, `during` strikes while it is under way, `mend` undoes it."""

    def __init__(self, rng, run):
        self.rng, self.run = rng, run

    def before(self):
        pass

    def limits(self):
        pass

    def during(self):
        pass

    def mend(self):
        pass


class Full(Fault):
    def before(self):
        # From less than a checkpoint takes to several of them.
        self.kib = self.rng.randrange(64, 14_000)
        mount(self.run.parent, "-t", "tmpfs", "-o", f"size={self.kib}k")

    def mend(self):
        mount(self.run.parent, "-o", "remount,size=1g")


class NoFiles(Fault):
    def before(self):
        mount(self.run.parent, "-t", "tmpfs", "-o", f"size=1g,nr_inodes={self.rng.randrange(3, 11)}")

    def mend(self):
        mount(self.run.parent, "-o", "remount,nr_inodes=10000")


class ReadOnly(Fault):
    def during(self):
        for folder in [self.run, self.run / "checkpoints"]:
            if folder.exists():
                folder.chmod(0o555)

    def mend(self):
        for folder in [self.run, self.run / "checkpoints"]:
            if folder.exists():
                folder.chmod(0o755)


class Vanished(Fault):
    def during(self):
        self.run.rename(self.run.parent / "elsewhere")

    def mend(self):
        elsewhere = self.run.parent / "elsewhere"
        if not self.run.exists() and elsewhere.exists():
            elsewhere.rename(self.run)


class Limited(Fault):
    def limits(self):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        most = self.rng.randrange(1 << 10, 4 << 20)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


class InTheWay(Fault):
    """Something that cannot be replaced has the name of a file."""

    path = None

    def during(self):
        name = self.rng.choice(["weights.safetensors", "best.safetensors", "checkpoints"])
        self.path = self.run / name
        self.kept = self.run.parent / "kept"
        if self.path.exists():
            self.path.rename(self.kept)
        if name == "checkpoints":
            self.path.write_bytes(b"")
        else:
            (self.path / "a file").mkdir(parents=True)

    def mend(self):
        if self.path is None:
            return
        if self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink()
        if self.kept.exists():
            self.kept.rename(self.path)


class Damaged(Fault):
    """The newest checkpoint is cut short, or one of its bits is wrong: an earlier one is taken."""

    def damage(self):
        checkpoints = sorted((self.run / "checkpoints").glob("step-*.safetensors"))
        if not checkpoints:
            return False
        content = bytearray(checkpoints[-1].read_bytes())
        if self.rng.random() < 0.5:
            content = content[: self.rng.randrange(len(content))]
        else:
            content[self.rng.randrange(len(content))] ^= 1 << self.rng.randrange(8)
        checkpoints[-1].write_bytes(content)
        return True


FAULTS = [Full, Damaged, ReadOnly, NoFiles, Limited, Vanished, InTheWay]


def strike(training, fault, whole):
    """Runs with a fault until it ends; whether it failed, and what is wrong if anything is."""
    run = fault.run
    process = training.start(*training.begin_or_resume(run), preexec_fn=fault.limits)
    while process.poll() is None and not (run / "metrics.jsonl").exists() and type(fault).during is not Fault.during:
        time.sleep(0.005)
    time.sleep(fault.rng.uniform(0, 0.7 * whole))
    is_damage = isinstance(fault, Damaged)
    if is_damage:
        process.kill()
    elif process.poll() is None:
        fault.during()
    _, said = process.communicate()
    if is_damage:
        return fault.damage(), None
    if process.returncode == 0:
        return False, None
    lines = said.splitlines()
    is_told = any(line.startswith("error: ") for line in lines) and any(line.startswith("hint: ") for line in lines)
    if process.returncode != 1 or not is_told or "panicked" in said:
        return True, f"ended with {process.returncode}:\n{said}"
    return True, None


def run(arguments):
    if os.environ.get(INSIDE) is None:
        for program in ["unshare", "setpriv", "mount"]:
            if shutil.which(program) is None:
                fail(f"{program} is missing: it is part of util-linux")
        space = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
        command = [*space, sys.executable, *sys.argv]
        return subprocess.run(command, env={**os.environ, INSIDE: "1"}).returncode == 0
    began = time.monotonic()
    training = Training(arguments.device, UNPRIVILEGED)
    timed = time.monotonic()
    training.check("train", *training.recipe, "--out", training.folder / "timed")
    whole = time.monotonic() - timed
    rng = random.Random(arguments.seed)
    counts, wrong, attempts = {kind.__name__: 0 for kind in FAULTS}, [], 0
    while sum(counts.values()) < arguments.faults:
        kind = FAULTS[attempts % len(FAULTS)]
        attempts += 1
        place = training.folder / f"place-{attempts}"
        place.mkdir()
        fault = kind(rng, place / "run")
        fault.before()
        has_failed, trouble = strike(training, fault, whole)
        counts[kind.__name__] += has_failed
        fault.mend()
        if trouble is None and has_failed:
            process = training.start(*training.begin_or_resume(fault.run))
            _, said = process.communicate()
            if process.returncode != 0:
                trouble = f"did not go on:\n{said}"
            elif results(fault.run) != training.expected:
                trouble = "came out differently"
        if trouble:
            wrong.append(f"{kind.__name__}, number {attempts}: {trouble}")
        subprocess.run(["umount", place], stderr=subprocess.DEVNULL)
        shutil.rmtree(place, ignore_errors=True)
    training.close()
    print("| fault | times |\n| --- | ---: |")
    for name, count in counts.items():
        print(f"| {name} | {count} |")
    print(f"{sum(counts.values())} faults, {len(wrong)} wrong, {time.monotonic() - began:.0f} s")
    print("\n".join(wrong), end="\n" if wrong else "")
    return not wrong


def add_to(campaigns):
    one = campaigns.add_parser("disk", help="faults of the disk below training runs", description=__doc__)
    one.add_argument("--seed", type=int, required=True, help="seed of the moments")
    one.add_argument("--faults", type=int, default=20, help="faults that end a run [default: 20]")
    one.add_argument("--device", default="cpu", help="device of the runs [default: cpu]")
    one.set_defaults(run=run)
