//! Accuracy and loss against the epoch, as a drawing.

use super::canvas::{Anchor, Canvas, Color, Text};
use super::fonts::Fonts;
use super::recipe::recipe;
use crate::error::Result;
use crate::run::{EpochMetrics, SavedRun};

const WIDTH: f32 = 960.0;
const HEIGHT: f32 = 470.0;
const MARGIN: f32 = 28.0;
/// Vertical extent of the plots.
const PLOT: (f32, f32) = (158.0, 418.0);
/// Room for the numbers of the vertical axis.
const AXIS: f32 = 42.0;
/// Room for the last values.
const VALUES: f32 = 62.0;
/// Maximum number of epochs with a dot each.
const MOST_DOTS: usize = 40;

/// One of the two plots.
struct Plot {
    title: &'static str,
    /// Which images the second curve is of.
    tested_on: &'static str,
    left: f32,
    right: f32,
    /// Its curves by epoch: training, then test.
    curves: [Vec<(f32, f32)>; 2],
    /// What the vertical axis shows.
    range: (f32, f32),
    step: f32,
    /// How the last values are written.
    value: fn(f32) -> String,
}

/// The drawing of a run's curves.
pub(super) fn curves(run: &SavedRun, epochs: &[EpochMetrics]) -> Result<Canvas> {
    let mut canvas = Canvas::new(WIDTH, HEIGHT, Fonts::embedded()?);
    header(&mut canvas, run, epochs);
    let series = |value: fn(&EpochMetrics) -> f64| {
        let points = epochs.iter().map(|e| (e.epoch as f32, value(e) as f32));
        points.filter(|point| point.1.is_finite()).collect::<Vec<_>>()
    };
    let (middle, tested_on) = (WIDTH / 2.0, run.config.tested_on());
    let accuracy = [series(|e| 100.0 * e.train_accuracy), series(|e| 100.0 * e.test_accuracy)];
    let (low, _) = extent(&accuracy);
    let (range, step) = ticks(low.min(95.0), 100.0);
    let value = |v| format!("{v:.2} %");
    let (left, right) = (MARGIN + AXIS, middle - VALUES - 14.0);
    plot(
        &mut canvas,
        &Plot { title: "Accuracy, %", tested_on, left, right, curves: accuracy, range, step, value },
        epochs,
    );
    let loss = [series(|e| e.train_loss), series(|e| e.test_loss)];
    let (_, high) = extent(&loss);
    let (range, step) = ticks(0.0, high.max(0.01));
    let value = |v| format!("{v:.3}");
    let (left, right) = (middle + AXIS + 14.0, WIDTH - MARGIN - VALUES);
    plot(&mut canvas, &Plot { title: "Loss, nats", tested_on, left, right, curves: loss, range, step, value }, epochs);
    Ok(canvas)
}

/// Name and progress of the run.
fn header(canvas: &mut Canvas, run: &SavedRun, epochs: &[EpochMetrics]) {
    let room = WIDTH - 2.0 * MARGIN;
    let title = match epochs.last() {
        Some(last) => {
            let done = run.done(last);
            let (config, accuracy) = (&run.config, 100.0 * last.test_accuracy);
            format!("{}: {accuracy:.2} % of {} images correct after {done}", run.network_name(), config.tested_on())
        }
        None => run.network_name(),
    };
    let title = canvas.fonts.fitted(&title, 20.0, true, room);
    canvas.text(Text::new((MARGIN, 42.0), 20.0, title).bold());
    let mut lines = vec![String::new()];
    for part in recipe(&run.config) {
        let current = lines.last().cloned().unwrap_or_default();
        let longer = if current.is_empty() { part.clone() } else { format!("{current}  ·  {part}") };
        if canvas.fonts.width(&longer, 12.5, false) <= room {
            lines.pop();
            lines.push(longer);
        } else {
            lines.push(part);
        }
    }
    lines.truncate(2);
    lines.push(format!("{}  ·  {}", run.source, run.ran_on));
    let mut y = 66.0;
    for line in lines {
        let line = canvas.fonts.fitted(&line, 12.5, false, room);
        canvas.text(Text::new((MARGIN, y), 12.5, line).color(Color::Muted));
        y += 19.0;
    }
}

fn plot(canvas: &mut Canvas, plot: &Plot, epochs: &[EpochMetrics]) {
    let (top, bottom) = PLOT;
    canvas.text(Text::new((plot.left - AXIS, top - 22.0), 14.0, plot.title).bold());
    let mut right = plot.right;
    for (name, color) in [(plot.tested_on, Color::Test), ("train", Color::Train)] {
        let width = canvas.fonts.width(name, 12.5, false);
        canvas.text(Text::new((right, top - 22.0), 12.5, name).anchor(Anchor::End));
        let from = right - width - 30.0;
        canvas.line(vec![(from, top - 26.5), (from + 22.0, top - 26.5)], 2.5, color);
        right = from - 16.0;
    }
    let number = |epoch: Option<&EpochMetrics>| epoch.map_or(1.0, |e| e.epoch as f32);
    let (mut first, mut last) = (number(epochs.first()), number(epochs.last()));
    if first == last {
        (first, last) = (first - 0.5, last + 0.5);
    }
    let x = |epoch: f32| plot.left + (epoch - first) / (last - first) * (plot.right - plot.left);
    let y = |value: f32| bottom - (value - plot.range.0) / (plot.range.1 - plot.range.0) * (bottom - top);

    let count = ((plot.range.1 - plot.range.0) / plot.step).round() as u32;
    for tick in 0..=count {
        let value = plot.range.0 + tick as f32 * plot.step;
        canvas.line(vec![(plot.left, y(value)), (plot.right, y(value))], 1.0, Color::Grid);
        let decimals = (-plot.step.log10().floor()).max(0.0) as usize;
        let label = Text::new((plot.left - 9.0, y(value) + 4.0), 12.0, format!("{value:.decimals$}"));
        canvas.text(label.anchor(Anchor::End).color(Color::Muted));
    }
    let step = nice_step((last - first) / 8.0).max(1.0);
    let from = (first / step).ceil() as u32;
    let mut labels: Vec<f32> = (from..).map(|tick| tick as f32 * step).take_while(|&epoch| epoch <= last).collect();
    if first == 1.0 && labels.first() != Some(&1.0) {
        labels.insert(0, 1.0);
    }
    for epoch in labels {
        canvas.line(vec![(x(epoch), bottom), (x(epoch), bottom + 5.0)], 1.0, Color::Muted);
        let label = Text::new((x(epoch), bottom + 20.0), 12.0, format!("{epoch:.0}"));
        canvas.text(label.anchor(Anchor::Middle).color(Color::Muted));
    }
    canvas.line(vec![(plot.left, bottom), (plot.right, bottom)], 1.0, Color::Muted);
    let middle = (plot.left + plot.right) / 2.0;
    canvas.text(Text::new((middle, bottom + 38.0), 12.0, "epoch").anchor(Anchor::Middle).color(Color::Muted));

    for (curve, color) in plot.curves.iter().zip([Color::Train, Color::Test]) {
        let points: Vec<_> = curve.iter().map(|&(epoch, value)| (x(epoch), y(value))).collect();
        if epochs.len() <= MOST_DOTS {
            points.iter().for_each(|&point| canvas.disc(point, 3.0, color));
        }
        if points.len() > 1 {
            canvas.line(points, 2.0, color);
        }
    }
    last_values(canvas, plot, y);
}

/// The last values beside the curves' ends, moved apart where they would overlap.
fn last_values(canvas: &mut Canvas, plot: &Plot, y: impl Fn(f32) -> f32) {
    let ends: Vec<_> = plot
        .curves
        .iter()
        .zip([Color::Train, Color::Test])
        .filter_map(|(curve, color)| curve.last().map(|&(_, value)| (y(value), value, color)))
        .collect();
    let between = match ends.as_slice() {
        [(a, ..), (b, ..)] => ((16.0 - (a - b).abs()) / 2.0).max(0.0),
        _ => 0.0,
    };
    let upper = ends.iter().map(|end| end.0).fold(f32::MAX, f32::min);
    let mut upper_is_taken = false;
    for (at, value, color) in ends {
        let is_upper = at == upper && !upper_is_taken;
        upper_is_taken |= is_upper;
        let at = if is_upper { at - between } else { at + between };
        canvas.text(Text::new((plot.right + 8.0, at + 4.0), 12.0, (plot.value)(value)).bold().color(color));
    }
}

/// The least and the largest value.
fn extent(curves: &[Vec<(f32, f32)>]) -> (f32, f32) {
    let values = || curves.iter().flatten().map(|point| point.1);
    (values().fold(f32::MAX, f32::min), values().fold(0.0, f32::max))
}

/// Rounds up to 1, 2 or 5 times a power of ten.
fn nice_step(least: f32) -> f32 {
    let power = 10.0_f32.powf(least.max(1e-6).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|f| f * power).find(|step| *step >= least * 0.999).unwrap_or(10.0 * power)
}

/// A range of round numbers around two values, and the step between its grid lines.
fn ticks(low: f32, high: f32) -> ((f32, f32), f32) {
    let step = nice_step((high - low) / 6.0);
    (((low / step).floor() * step, (high / step).ceil() * step), step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_round_and_hold_their_values() {
        assert_eq!(ticks(36.0, 100.0), ((20.0, 100.0), 20.0));
        assert_eq!(ticks(0.0, 2.3), ((0.0, 2.5), 0.5));
        for high in [0.01, 0.37, 1.0, 42.0, 1e5] {
            let ((low, top), step) = ticks(0.0, high);
            assert!(low == 0.0 && top >= high && top / step <= 8.0, "{high}: {low} to {top} by {step}");
        }
    }
}
