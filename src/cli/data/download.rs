//! `cifar-gpu data download`

use std::path::PathBuf;
use std::time::{Duration, Instant};

use cifar_gpu::Result;
use cifar_gpu::data::{DownloadEvent, DownloadSource, DownloadSummary, OfficialSet, RetryPolicy, download};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::terminal::{is_quiet, print, print_json, say, warn};
use crate::words::grouped;

/// Time between plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, ValueEnum)]
enum SetName {
    #[value(name = "cifar-10")]
    Cifar10,
    #[value(name = "cifar-100")]
    Cifar100,
}

#[derive(clap::Args)]
#[command(after_help = "\
The archive is that of the binary version from www.cs.toronto.edu, 170 MB, checked by its size and MD5 sum. Run the command again to resume an interrupted download. Proxies: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY.

Examples:
  cifar-gpu data download
  cifar-gpu data download cifar-100 data/cifar100
  cifar-gpu data download cifar-10 --url https://mirror.example/cifar-10-binary.tar.gz")]
pub struct Download {
    /// The set
    #[arg(value_enum, default_value = "cifar-10")]
    set: SetName,
    /// Folder to create [default: data/cifar10 or data/cifar100]
    dir: Option<PathBuf>,
    /// Another address of the same archive
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// MD5 sum of the archive at --url, if it is another one of the same set
    #[arg(long, value_name = "HEX", requires = "url", value_parser = md5_sum)]
    md5: Option<String>,
    /// Consecutive failed attempts without new data, after the first, before giving up
    #[arg(long, value_name = "N", default_value_t = 5)]
    retries: u32,
    /// Seconds without any data after which an attempt has failed
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn md5_sum(text: &str) -> std::result::Result<String, String> {
    let is_sum = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_sum.then(|| text.to_lowercase()).ok_or_else(|| "expected 32 hexadecimal digits".to_owned())
}

impl Download {
    pub fn run(self) -> Result<()> {
        let (set, usual) = match self.set {
            SetName::Cifar10 => (OfficialSet::Cifar10, "data/cifar10"),
            SetName::Cifar100 => (OfficialSet::Cifar100, "data/cifar100"),
        };
        let mut source = set.source();
        if let Some(md5) = self.md5 {
            source = DownloadSource { bytes: None, md5, ..source };
        }
        source.url = self.url.unwrap_or(source.url);
        let dir = self.dir.unwrap_or_else(|| usual.into());
        let policy = RetryPolicy {
            timeout: Duration::from_secs(self.timeout),
            retries: self.retries,
            pause: Duration::from_secs(1),
        };
        let mut progress = ByteProgress::new();
        let summary = download(&source, &dir, &policy, &mut |event| match event {
            DownloadEvent::Started => say(format_args!("downloading {} to {}", source.url, dir.display())),
            event => progress.show(&event),
        });
        drop(progress);
        let summary = summary?;
        if self.json {
            return print_json(&summary);
        }
        let DownloadSummary { train, test, classes, already_present } = summary;
        let there = if already_present { "already there: " } else { "" };
        print(format_args!("{}: {there}{train} training and {test} test images of {classes} classes", dir.display()))
    }
}

/// Shows a download: a bar on a terminal, else a line now and then.
struct ByteProgress {
    bar: ProgressBar,
    last_line: Instant,
}

impl ByteProgress {
    fn new() -> Self {
        // Draws only on a terminal.
        let target = if is_quiet() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        ByteProgress { bar: ProgressBar::with_draw_target(None, target), last_line: Instant::now() }
    }

    fn show(&mut self, event: &DownloadEvent<'_>) {
        match event {
            DownloadEvent::Received { bytes, total } => self.received(*bytes, *total),
            DownloadEvent::Resumed(bytes) => {
                self.bar.set_position(*bytes);
                self.bar.reset_eta();
                self.line(format_args!("resuming at byte {}", grouped(*bytes)));
            }
            DownloadEvent::Restarted => {
                self.bar.reset();
                self.line("starting over: what arrived before cannot be resumed");
            }
            DownloadEvent::Retry { error, pause } => {
                self.bar.suspend(|| warn(format_args!("{error}; trying again in {} s", pause.as_secs_f64())));
            }
            DownloadEvent::Unpacking => self.bar.finish_and_clear(),
            _ => {}
        }
    }

    fn received(&mut self, bytes: u64, total: Option<u64>) {
        if let Some(total) = total
            && self.bar.length() != Some(total)
        {
            let style = ProgressStyle::with_template("{bar:20} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left");
            self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            self.bar.set_length(total);
        }
        self.bar.set_position(bytes);
        if self.bar.is_hidden() && self.last_line.elapsed() >= LINE_INTERVAL {
            self.last_line = Instant::now();
            let of = total.map(|total| format!(" of {}", grouped(total))).unwrap_or_default();
            say(format_args!("  {}{of} bytes", grouped(bytes)));
        }
    }

    /// Prints a line above the bar.
    fn line(&self, text: impl std::fmt::Display) {
        self.bar.suspend(|| say(text));
    }
}

impl Drop for ByteProgress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
