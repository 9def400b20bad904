//! Kernel profiling: collects the time of every kernel run while enabled, and summarizes it.
//!
//! A separate module that depends on no other: GPU submissions and CPU twins report to it.
//!
//! The process has one collection, since CPU twins have no device handle; kernels of concurrent work are collected, too.

use crate::clock::Instant;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

static COLLECTING: AtomicBool = AtomicBool::new(false);
static EVENTS: Mutex<Vec<Event>> = Mutex::new(Vec::new());
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// One run of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    /// The kernel's name.
    pub name: &'static str,
    /// When it started, in nanoseconds of the device's own clock.
    pub start_ns: u64,
    /// Duration in nanoseconds.
    pub duration_ns: u64,
    /// Floating-point operations, counted for matrix products only.
    pub flops: u64,
    /// Bytes of its operands and results, each counted once.
    pub bytes: u64,
}

/// Starts collecting and discards earlier runs.
pub fn start() {
    EVENTS.lock().clear();
    COLLECTING.store(true, Ordering::Relaxed);
}

/// Stops collecting.
pub fn stop() -> Profile {
    COLLECTING.store(false, Ordering::Relaxed);
    Profile { events: std::mem::take(&mut EVENTS.lock()) }
}

/// Whether runs are being collected.
pub(crate) fn is_collecting() -> bool {
    COLLECTING.load(Ordering::Relaxed)
}

pub(crate) fn add(events: impl IntoIterator<Item = Event>) {
    EVENTS.lock().extend(events);
}

/// Times a CPU twin from now until this is dropped, if runs are collected.
pub(crate) fn twin(name: &'static str, flops: u64, bytes: usize) -> Option<Timed> {
    is_collecting().then(|| Timed { name, flops, bytes: bytes as u64, start: Instant::now() })
}

/// A CPU twin that is running.
pub(crate) struct Timed {
    name: &'static str,
    flops: u64,
    bytes: u64,
    start: Instant,
}

impl Drop for Timed {
    fn drop(&mut self) {
        let Timed { name, flops, bytes, start } = *self;
        let start_ns = start.duration_since(*ORIGIN).as_nanos() as u64;
        add([Event { name, start_ns, duration_ns: start.elapsed().as_nanos() as u64, flops, bytes }]);
    }
}

/// Runs of kernels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    /// In the order in which they ended.
    pub events: Vec<Event>,
}

/// All runs of one kernel.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct KernelTotal {
    /// The kernel's name.
    pub name: &'static str,
    /// Number of runs.
    pub calls: usize,
    /// Total seconds.
    pub seconds: f64,
    /// Share of the total kernel time.
    pub share: f64,
    /// Billions of floating-point operations a second, where they are counted.
    pub gflops: Option<f64>,
    /// Billions of bytes a second: operands and results, each counted once.
    pub gigabytes: f64,
}

/// Sums over runs.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    calls: usize,
    nanoseconds: u64,
    flops: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, event: &Event) {
        self.calls += 1;
        self.nanoseconds += event.duration_ns;
        self.flops += event.flops;
        self.bytes += event.bytes;
    }

    /// As a share of `all`.
    fn total(self, name: &'static str, all: Sum) -> KernelTotal {
        // A clock may be too coarse for a short kernel.
        let per_ns = |amount: u64| amount as f64 / self.nanoseconds.max(1) as f64;
        KernelTotal {
            name,
            calls: self.calls,
            seconds: self.nanoseconds as f64 / 1e9,
            share: self.nanoseconds as f64 / all.nanoseconds.max(1) as f64,
            gflops: (self.flops > 0).then(|| per_ns(self.flops)),
            gigabytes: per_ns(self.bytes),
        }
    }
}

impl Profile {
    /// Totals per kernel, the most expensive first.
    pub fn totals(&self) -> Vec<KernelTotal> {
        let mut sums: BTreeMap<&'static str, Sum> = BTreeMap::new();
        for event in &self.events {
            sums.entry(event.name).or_default().add(event);
        }
        let all = self.sum();
        let mut totals: Vec<_> = sums.into_iter().map(|(name, sum)| sum.total(name, all)).collect();
        totals.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        totals
    }

    /// The sums over all runs.
    fn sum(&self) -> Sum {
        let mut all = Sum::default();
        self.events.iter().for_each(|event| all.add(event));
        all
    }

    /// [`Profile::totals`] as a text table, with a last line for all kernels.
    pub fn table(&self) -> String {
        let mut text =
            format!("{:<30} {:>6} {:>10} {:>7} {:>9} {:>8}\n", "kernel", "calls", "ms", "share", "GFLOP/s", "GB/s");
        let all = self.sum();
        for total in self.totals().into_iter().chain([all.total("all kernels", all)]) {
            let gflops = total.gflops.map_or("–".to_owned(), |gflops| format!("{gflops:.1}"));
            text += &format!(
                "{:<30} {:>6} {:>10.2} {:>6.1}% {gflops:>9} {:>8.1}\n",
                total.name,
                total.calls,
                1e3 * total.seconds,
                100.0 * total.share,
                total.gigabytes
            );
        }
        text.trim_end().to_owned()
    }

    /// All runs as a trace in Chrome's JSON trace format, which Perfetto also opens.
    pub fn trace(&self, device: &str) -> String {
        let origin = self.events.iter().map(|event| event.start_ns).min().unwrap_or(0);
        let microseconds = |ns: u64| ns as f64 / 1e3;
        let name = serde_json::json!({"name": "process_name", "ph": "M", "pid": 1, "args": {"name": device}});
        let runs = self.events.iter().map(|event| {
            serde_json::json!({
                "name": event.name,
                "ph": "X",
                "pid": 1,
                "tid": 1,
                "ts": microseconds(event.start_ns - origin),
                "dur": microseconds(event.duration_ns),
                "args": {"flops": event.flops, "bytes": event.bytes},
            })
        });
        let events: Vec<_> = std::iter::once(name).chain(runs).collect();
        serde_json::json!({"displayTimeUnit": "ms", "traceEvents": events}).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up_and_the_trace_starts_at_zero() {
        let event = |name, start_ns, duration_ns, flops| Event { name, start_ns, duration_ns, flops, bytes: 500 };
        let events =
            vec![event("relu", 7_000, 1_000, 0), event("product", 9_000, 2_000, 8_000), event("relu", 8_000, 0, 0)];
        let profile = Profile { events };
        let totals = profile.totals();
        assert_eq!(totals.iter().map(|t| (t.name, t.calls)).collect::<Vec<_>>(), [("product", 1), ("relu", 2)]);
        assert_eq!((totals[0].gflops, totals[0].gigabytes, totals[1].gflops), (Some(4.0), 0.25, None));
        assert!((totals.iter().map(|t| t.share).sum::<f64>() - 1.0).abs() < 1e-12);
        let trace: serde_json::Value = serde_json::from_str(&profile.trace("a device")).unwrap();
        assert_eq!(trace["traceEvents"][1]["ts"], 0.0);
        assert_eq!((&trace["traceEvents"][2]["ts"], &trace["traceEvents"][2]["dur"]), (&2.0.into(), &2.0.into()));
        let table = profile.table();
        let last: Vec<_> = table.lines().last().unwrap().split_whitespace().collect();
        assert!(table.contains("product"));
        assert_eq!(last, ["all", "kernels", "3", "0.00", "100.0%", "2.7", "0.5"]);
    }
}
