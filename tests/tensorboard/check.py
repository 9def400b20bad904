"""Lets TensorBoard itself read a run's event files and compares what it finds with metrics.jsonl.

usage: python3 check.py RUN_DIR        (pip install tensorboard)
"""

import json
import pathlib
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run = pathlib.Path(sys.argv[1])
lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
epochs = [line for line in lines if "test_loss" in line]
steps = [line for line in lines if "step" in line]
events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
events.Reload()
scalars = lambda tag: [(event.step, event.value) for event in events.Scalars(tag)]


def agree(tag, expected):
    found = scalars(tag)
    assert len(found) == len(expected), f"{tag}: {len(found)} values, {len(expected)} expected"
    for (step, value), (expected_step, expected_value) in zip(found, expected):
        assert step == expected_step, f"{tag}: step {step}, {expected_step} expected"
        assert abs(value - expected_value) <= 1e-5 * max(1, abs(expected_value)), f"{tag}, step {step}: {value}"


for tag, key in [
    ("loss/train", "train_loss"),
    ("loss/test", "test_loss"),
    ("accuracy/train", "train_accuracy"),
    ("accuracy/test", "test_accuracy"),
    ("images_per_second", "images_per_second"),
]:
    agree(tag, [(line["steps"], line[key]) for line in epochs])
    agree(f"by_epoch/{tag}", [(line["epoch"], line[key]) for line in epochs])
if steps:
    agree("step/loss", [(line["step"], line["loss"]) for line in steps])
    agree("step/learning_rate", [(line["step"], line["lr"]) for line in steps])
print(f"{len(epochs)} epochs and {len(steps)} steps agree")
