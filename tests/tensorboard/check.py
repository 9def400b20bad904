#!/usr/bin/env python3
"""Loads a run's event file with TensorBoard itself and compares it with metrics.jsonl.

Needs `pip install tensorboard`. Usage: tests/tensorboard/check.py RUN_FOLDER
"""

import json
import math
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EPOCH_TAGS = {
    "loss/train": "train_loss",
    "loss/test": "test_loss",
    "accuracy/train": "train_accuracy",
    "accuracy/test": "test_accuracy",
    "images_per_second": "images_per_second",
    "learning_rate": "lr",
}
STEP_TAGS = {"step/loss": "loss", "step/learning_rate": "lr"}


def main(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "step" in line]
    epochs = [line for line in lines if "step" not in line]
    expected = {tag: [(line["step"], line[key]) for line in steps] for tag, key in STEP_TAGS.items() if steps}
    for tag, key in EPOCH_TAGS.items():
        expected[tag] = [(line["steps"], line[key]) for line in epochs]
        expected[f"by_epoch/{tag}"] = [(line["epoch"], line[key]) for line in epochs]
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    found = set(events.Tags()["scalars"])
    assert found == set(expected), found ^ set(expected)
    for tag, points in expected.items():
        scalars = events.Scalars(tag)
        assert [event.step for event in scalars] == [step for step, _ in points], tag
        for event, (step, value) in zip(scalars, points):
            same = math.isnan(event.value) if value is None else math.isclose(event.value, value, rel_tol=1e-6)
            assert same, (tag, step, event.value, value)
    print(f"{len(expected)} tags, {len(steps)} steps and {len(epochs)} epochs are as in metrics.jsonl")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]))
