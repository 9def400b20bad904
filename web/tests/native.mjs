// What the native program computes, to compare with.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

// With a higher rate, Adam makes whole steps of gradients that are nearly zero: rounding differences grow tenfold in a few steps.
const RATE = 1e-4;
/** As many shapes as the native program draws, since a set depends on its size. */
export const SHAPES = [10_000, 2_000];

/** The changes to the recipe `practice` for a run: {arch, batch, steps}. */
export const changesOf = ({ batch, steps }) => ({
  optimizer: "adam",
  lr: RATE,
  batch_size: batch,
  epochs: 1,
  limit_train: batch * steps,
  limit_test: 8,
});

/** The losses of its steps on the CPU; `folder` is for the run's folder. */
export function nativeLosses(program, folder, { arch, batch, steps }) {
  const run = join(folder, `${arch}-${steps}`);
  const settings = `--recipe practice --optimizer adam --lr ${RATE} --batch-size ${batch} --epochs 1`;
  const limits = `--limit-train ${batch * steps} --limit-test 8 --log-every 1 --device cpu --quiet`;
  execFileSync(program, `train --arch ${arch} --data synthetic ${settings} ${limits} --out ${run}`.split(" "));
  const lines = readFileSync(join(run, "metrics.jsonl"), "utf8").trim().split("\n").map((line) => JSON.parse(line));
  return lines.filter((line) => "loss" in line).map((line) => line.loss);
}

/** The largest difference, relative to magnitudes above 1. */
export const largest = (actual, expected) =>
  actual.length === expected.length
    ? Math.max(...actual.map((value, at) => Math.abs(value - expected[at]) / Math.max(1, Math.abs(expected[at]))))
    : Infinity;
