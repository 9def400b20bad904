// Curves, bars and maps, drawn on canvases.

/** A color of the style sheet, for light or dark as they are now: a property itself would name both. */
function style(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** A canvas with as many pixels as the screen has for it. */
function prepared(canvas) {
  const scale = window.devicePixelRatio || 1;
  const { width, height } = canvas.getBoundingClientRect();
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  return { context, width, height };
}

/** A round number of about this size. */
function rounded(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((digit) => digit * power).find((step) => step >= value);
}

/** Draws curves: [{name, points: [[x, y]]}]. The first and the second have colors of their own. */
export function drawCurves(canvas, curves, { low, high } = {}) {
  const { context, width, height } = prepared(canvas);
  context.clearRect(0, 0, width, height);
  const points = curves.flatMap((curve) => curve.points);
  if (points.length === 0) return;
  const extent = (at) => [Math.min(...points.map((p) => p[at])), Math.max(...points.map((p) => p[at]))];
  const [x0, x1] = extent(0);
  let [y0, y1] = extent(1);
  y0 = low ?? Math.min(y0, 0);
  y1 = high ?? y1;
  const box = { left: 44, right: width - 10, top: 10, bottom: height - 22 };
  const x = (value) => box.left + ((value - x0) / (x1 - x0 || 1)) * (box.right - box.left);
  const y = (value) => box.bottom - ((value - y0) / (y1 - y0 || 1)) * (box.bottom - box.top);
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = style("--faint");
  context.strokeStyle = style("--line");
  context.textAlign = "right";
  context.textBaseline = "middle";
  const step = rounded((y1 - y0) / 4 || 1);
  for (let value = Math.ceil(y0 / step) * step; value <= y1 + step / 100; value += step) {
    context.beginPath();
    context.moveTo(box.left, y(value));
    context.lineTo(box.right, y(value));
    context.stroke();
    context.fillText(String(Number(value.toPrecision(3))), box.left - 6, y(value));
  }
  context.textBaseline = "top";
  context.fillText(String(x1), box.right, box.bottom + 6);
  context.textAlign = "left";
  context.fillText(String(x0), box.left, box.bottom + 6);
  const colors = [style("--accent"), style("--good")];
  curves.forEach(({ name, points: own }, at) => {
    context.strokeStyle = context.fillStyle = colors[at];
    context.lineWidth = 1.8;
    context.setLineDash(at === 0 ? [] : [5, 3]);
    context.beginPath();
    own.forEach(([px, py], index) => (index === 0 ? context.moveTo(x(px), y(py)) : context.lineTo(x(px), y(py))));
    context.stroke();
    context.setLineDash([]);
    context.textAlign = "right";
    context.textBaseline = "top";
    context.fillText(name, box.right, box.top + 15 * at);
    if (own.length === 1) context.fillRect(x(own[0][0]) - 2, y(own[0][1]) - 2, 4, 4);
  });
}

/** A canvas of an image that is given by its planes. */
export function pictureOf(planes, height, width, channels) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const pixels = new ImageData(width, height);
  for (let at = 0; at < height * width; at++) {
    for (let channel = 0; channel < 3; channel++) {
      pixels.data[4 * at + channel] = planes[(channels === 1 ? 0 : channel) * height * width + at];
    }
    pixels.data[4 * at + 3] = 255;
  }
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

/** Canvases of the first maps of a layer, whose values lie channel by channel for each pixel. */
export function mapsOf(values, [height, width, channels], most = 32) {
  const maps = [];
  for (let channel = 0; channel < Math.min(channels, most); channel++) {
    const own = Float32Array.from({ length: height * width }, (_, at) => values[at * channels + channel]);
    const low = own.reduce((a, b) => Math.min(a, b), Infinity);
    const high = own.reduce((a, b) => Math.max(a, b), -Infinity);
    const shade = (value) => (high > low ? (255 * (value - low)) / (high - low) : 0);
    const canvas = pictureOf(Uint8ClampedArray.from(own, shade), height, width, 1);
    canvas.title = `channel ${channel + 1}: ${low.toPrecision(3)} to ${high.toPrecision(3)}`;
    maps.push(canvas);
  }
  return maps;
}

/** Classes with bars for their probabilities, the most probable first. */
export function barsOf(classes, probabilities, most = 5) {
  const bars = document.createElement("div");
  bars.className = "bars";
  const ranked = classes.map((name, at) => [name, probabilities[at]]).sort((a, b) => b[1] - a[1]);
  for (const [name, probability] of ranked.slice(0, most)) {
    const label = document.createElement("span");
    label.textContent = name;
    const bar = document.createElement("span");
    bar.className = "bar";
    const fill = document.createElement("i");
    fill.style.width = `${100 * probability}%`;
    bar.append(fill);
    const share = document.createElement("span");
    share.textContent = `${(100 * probability).toFixed(1)} %`;
    bars.append(label, bar, share);
  }
  return bars;
}

/** The confusion matrix as a table. */
export function confusionOf(matrix, classes) {
  const table = document.createElement("table");
  const head = table.createTHead().insertRow();
  head.append(document.createElement("th"), ...classes.map((name) => Object.assign(document.createElement("th"), { textContent: name, scope: "col" })));
  const body = table.createTBody();
  matrix.forEach((row, at) => {
    const line = body.insertRow();
    line.append(Object.assign(document.createElement("th"), { textContent: classes[at], scope: "row" }));
    const total = row.reduce((a, b) => a + b, 0) || 1;
    row.forEach((count, column) => {
      const cell = line.insertCell();
      cell.textContent = count;
      const share = Math.round((100 * count) / total);
      if (share > 0) {
        cell.style.background = `color-mix(in srgb, var(${column === at ? "--good" : "--bad"}) ${Math.min(70, share)}%, transparent)`;
      }
    });
  });
  return table;
}
