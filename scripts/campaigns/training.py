"""Small training runs for campaigns, and what must come out of them."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from campaigns import ROOT, fail

# All that draws random numbers or keeps a state, and few steps between checkpoints.
RECIPE = (
    "--arch lenet5 --batch-size 32 --epochs 3 --lr 0.01 --augment strong --label-smoothing 0.1 --clip-norm 1 --average-decay 0.9"
    " --warmup-epochs 0.5 --schedule one-cycle --log-every 1 --checkpoint-steps 2"
)


class Training:
    """A program, a data set of 400 images, and the results of an undisturbed run."""

    def __init__(self, device, prefix=()):
        self.prefix = prefix
        if subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT).returncode != 0:
            fail("the program does not build")
        metadata = subprocess.run(
            ["cargo", "metadata", "--format-version", "1", "--no-deps"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        self.program = Path(json.loads(metadata.stdout)["target_directory"]) / "release/cifar-gpu"
        self.folder = Path(tempfile.mkdtemp(prefix="campaign-"))
        self.device = device
        data = self.folder / "data"
        self.check("data", "synthesize", data, "--train", "400", "--test", "20")
        self.recipe = [*RECIPE.split(), "--data", str(data), "--device", device]
        self.check("train", *self.recipe, "--out", self.folder / "undisturbed")
        self.expected = results(self.folder / "undisturbed")

    def start(self, *arguments, **options):
        command = [*self.prefix, str(self.program), *map(str, arguments)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options)

    def check(self, *arguments):
        process = self.start(*arguments)
        _, said = process.communicate()
        if process.returncode != 0:
            fail(f"{' '.join(map(str, arguments))} ended with {process.returncode}:\n{said}")

    def begin_or_resume(self, run):
        """The arguments that begin a run, or go on with it."""
        if (run / "config.json").exists():
            return ["train", "--resume", run, "--device", self.device]
        shutil.rmtree(run, ignore_errors=True)
        return ["train", *self.recipe, "--out", run]

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def results(run):
    """What must come out the same: the weights' bytes, and the metrics without what the clock says."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("seconds", None)
        line.pop("images_per_second", None)
    return (run / "weights.safetensors").read_bytes(), lines
