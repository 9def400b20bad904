// What the native program computes, to compare with.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32, deflateSync } from "node:zlib";

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

/** A picture of 32 by 32 pixels in a PNG file, from its planes of red, green and blue. */
export function pngOf(planes) {
  const [side, area] = [32, 1024];
  const rows = Buffer.alloc(side * (1 + 3 * side));
  for (let y = 0; y < side; y++) {
    for (let at = 0; at < 3 * side; at++) rows[y * (1 + 3 * side) + 1 + at] = planes[(at % 3) * area + y * side + Math.floor(at / 3)];
  }
  const chunk = (name, body) => {
    const named = Buffer.concat([Buffer.from(name), body]);
    const framed = Buffer.alloc(named.length + 8);
    framed.writeUInt32BE(body.length, 0);
    named.copy(framed, 4);
    framed.writeUInt32BE(crc32(named), named.length + 4);
    return framed;
  };
  const header = Buffer.from([0, 0, 0, side, 0, 0, 0, side, 8, 2, 0, 0, 0]);
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]);
  return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", deflateSync(rows)), chunk("IEND", Buffer.alloc(0))]);
}

/** The logits of images, each given by its planes, on the CPU. */
export function nativeLogits(program, folder, weights, images) {
  const files = images.map((planes, at) => {
    const file = join(folder, `${at}.png`);
    writeFileSync(file, pngOf(planes));
    return file;
  });
  const predictions = execFileSync(program, ["predict", "--weights", weights, "--device", "cpu", "--json", "--quiet", ...files]);
  return JSON.parse(predictions).flatMap(({ logits }) => logits);
}
