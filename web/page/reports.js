// Check my GPU, and how fast it is: reports in the native program's formats.
import { element, guarded, make, reports, say } from "./parts.js";

const NETWORKS = [["lenet5", 64], ["resnet20", 64], ["ygnet", 64], ["all-cnn-c", 64]];

export function setUpReports(engine, device) {
  element("check-start").addEventListener("click", guarded(async ({ target }) => {
    target.disabled = true;
    const body = element("check-table").tBodies[0];
    body.replaceChildren();
    element("check-table").hidden = false;
    const lines = [];
    try {
      await engine.call("check", [], (line) => {
        lines.push(line);
        const row = body.insertRow();
        const verdict = row.insertCell();
        verdict.className = verdict.textContent = line.verdict;
        row.insertCell().textContent = line.check;
        row.insertCell().textContent = line.detail;
        say("check-status", `${lines.length} checks so far`);
      });
      const failed = lines.filter((line) => line.verdict === "FAIL").length;
      say("check-status", failed === 0 ? `All ${lines.length} checks passed.` : `${failed} of ${lines.length} checks failed.`);
    } finally {
      target.disabled = false;
      const text = [device.device, ...lines.map((line) => `${line.verdict.padEnd(7)} ${line.check.padEnd(34)} ${line.detail}`)];
      reports.set("check-copy", { text: text.join("\n"), json: JSON.stringify(lines, undefined, 2) });
      element("check-copy").hidden = false;
    }
  }));

  element("speed-start").addEventListener("click", guarded(async ({ target }) => {
    target.disabled = true;
    const body = element("speed-table").tBodies[0];
    body.replaceChildren();
    element("speed-table").hidden = false;
    const done = [];
    try {
      // Slow devices take minutes for a step of the larger networks.
      const isSlow = !device.is_gpu || device.is_software;
      for (const [arch, usual] of isSlow ? NETWORKS.slice(0, 2) : NETWORKS) {
        say("speed-status", `${arch}…`);
        const batch = isSlow ? 8 : usual;
        const report = await engine.call("bench", [arch, "train", batch, isSlow ? 3 : 20]);
        done.push(report);
        const row = body.insertRow();
        const median = report.step_seconds.median;
        const ceiling = report.ceiling_flops_per_second;
        const share = ceiling ? `${((100 * report.flops_per_second) / ceiling).toFixed(0)} % of ${(ceiling / 1e9).toFixed(0)} GFLOP/s` : "";
        for (const text of [arch, batch, (batch / median).toFixed(1), (1 / median).toFixed(2), `${(1000 * median).toFixed(1)} ms`, share]) {
          row.append(make("td", String(text)));
        }
      }
      say("speed-status", isSlow ? "The larger networks were left out: this device is slow." : "Done.");
    } finally {
      target.disabled = false;
      const text = done.map((report) => `${report.arch.padEnd(10)} ${report.median_images_per_second.toFixed(1)} images/s, batch ${report.batch_size}`);
      reports.set("speed-copy", { text: [device.device, ...text].join("\n"), json: JSON.stringify(done, undefined, 2) });
      element("speed-copy").hidden = false;
    }
  }));
}
