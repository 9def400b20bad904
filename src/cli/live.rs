//! The live view of a training run: curves and figures below the printed lines, on a terminal that is large enough.

use std::io::{IsTerminal, Stderr, stderr};
use std::time::Instant;

use crate::words::{duration, grouped};
use cifar_gpu::run::{EpochMetrics, Start};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, Gauge, GraphType, Paragraph};
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};

/// Height of the view in lines.
const HEIGHT: u16 = 15;
/// Smaller terminals get a bar.
const LEAST_SIZE: (u16, u16) = (70, HEIGHT + 8);
/// Maximum number of points of the curves within epochs; beyond it, every other point is dropped.
const MOST_POINTS: usize = 400;

/// Points of a curve: epochs done, and the value there.
type Points = Vec<(f64, f64)>;

/// The view.
pub struct LiveView {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    state: State,
}

/// Contents of the view.
struct State {
    title: String,
    epochs: f64,
    total_steps: u64,
    first_step: u64,
    steps_per_epoch: f64,
    step: u64,
    started: Instant,
    status: String,
    train_loss: Points,
    train_accuracy: Points,
    test_loss: Points,
    test_accuracy: Points,
    colored: bool,
}

/// Whether this process may change the terminal: the system stops background processes that try to.
#[cfg(unix)]
fn is_in_foreground() -> bool {
    rustix::termios::tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
}

#[cfg(not(unix))]
fn is_in_foreground() -> bool {
    true
}

impl LiveView {
    /// A view for a run; `None` if the terminal is too small, does not respond or must not be queried.
    pub fn open(start: &Start<'_>, earlier: &[EpochMetrics]) -> Option<Self> {
        // The cursor position is queried on standard output and returned on standard input.
        if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() || !is_in_foreground() {
            return None;
        }
        let (width, height) = ratatui::crossterm::terminal::size().ok()?;
        if width < LEAST_SIZE.0 || height < LEAST_SIZE.1 {
            return None;
        }
        let options = TerminalOptions { viewport: Viewport::Inline(HEIGHT) };
        let terminal = Terminal::with_options(CrosstermBackend::new(stderr()), options).ok()?;
        let mut state = State {
            title: format!("{} on {}", start.network, start.device),
            epochs: f64::from(start.config.epochs),
            total_steps: start.total_steps,
            first_step: start.first_step,
            steps_per_epoch: start.steps_per_epoch as f64,
            step: start.first_step,
            started: Instant::now(),
            status: "the first step sets up the later ones".into(),
            train_loss: Vec::new(),
            train_accuracy: Vec::new(),
            test_loss: Vec::new(),
            test_accuracy: Vec::new(),
            colored: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        earlier.iter().for_each(|metrics| state.add_epoch(metrics));
        let mut view = LiveView { terminal, state };
        view.draw();
        Some(view)
    }

    /// Prints a line above the view.
    pub fn line(&mut self, text: &str) {
        let paragraph = Paragraph::new(text.to_owned());
        // A display error must not end a run.
        let _ = self.terminal.insert_before(1, |buffer| {
            ratatui::widgets::Widget::render(paragraph, buffer.area, buffer);
        });
        self.draw();
    }

    /// Steps were done, up to this one; loss and accuracy are running means.
    pub fn stepped(&mut self, step: u64, loss: f64, accuracy: f64, images_per_second: f64) {
        let state = &mut self.state;
        state.step = step;
        let epochs = step as f64 / state.steps_per_epoch;
        push(&mut state.train_loss, (epochs, loss));
        push(&mut state.train_accuracy, (epochs, 100.0 * accuracy));
        let here = (step - state.first_step).max(1) as f64;
        let left = state.started.elapsed().as_secs_f64() / here * (state.total_steps - step) as f64;
        state.status = format!(
            "loss {loss:.3}, accuracy {:.1} %, {images_per_second:.0} images/s, {} left",
            100.0 * accuracy,
            duration(left)
        );
        self.draw();
    }

    /// Some of the test images were evaluated.
    pub fn tested(&mut self, images: usize, of: usize) {
        self.state.status = format!("testing: {} of {} images", grouped(images as u64), grouped(of as u64));
        self.draw();
    }

    /// An epoch has ended.
    pub fn epoch_done(&mut self, metrics: &EpochMetrics) {
        self.state.add_epoch(metrics);
        self.draw();
    }

    fn draw(&mut self) {
        let state = &self.state;
        // As above.
        let _ = self.terminal.draw(|frame| state.draw(frame));
    }
}

/// Shows the cursor again, if a view may have hidden it, before the program ends without dropping the view.
pub fn leave() {
    if stderr().is_terminal() {
        // The program ends even if this fails.
        let _ = ratatui::crossterm::execute!(
            stderr(),
            ratatui::crossterm::cursor::Show,
            ratatui::crossterm::style::Print("\n")
        );
    }
}

impl Drop for LiveView {
    fn drop(&mut self) {
        // Later output replaces the view.
        let top = self.terminal.get_frame().area().y;
        let _ = self.terminal.clear();
        let _ = self.terminal.set_cursor_position((0, top));
        let _ = self.terminal.show_cursor();
    }
}

impl State {
    fn add_epoch(&mut self, metrics: &EpochMetrics) {
        let epoch = f64::from(metrics.epoch);
        self.test_loss.push((epoch, metrics.test_loss));
        self.test_accuracy.push((epoch, 100.0 * metrics.test_accuracy));
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let [title, status, gauge, charts] =
            Layout::vertical([Constraint::Length(1), Constraint::Length(1), Constraint::Length(1), Constraint::Min(5)])
                .areas(frame.area());
        // A separate line, so that a long device name cannot push it out of sight.
        frame.render_widget(Paragraph::new(self.title.as_str()), title);
        frame.render_widget(Paragraph::new(self.status.as_str()), status);
        let done = self.step as f64 / self.total_steps.max(1) as f64;
        let epoch = (self.step as f64 / self.steps_per_epoch).floor().min(self.epochs - 1.0) + 1.0;
        let label = format!(
            "epoch {epoch:.0} of {:.0}, step {} of {}",
            self.epochs,
            grouped(self.step),
            grouped(self.total_steps)
        );
        let bar = Gauge::default().gauge_style(self.style(Color::Blue)).label(label).ratio(done.clamp(0.0, 1.0));
        frame.render_widget(bar, gauge);
        let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(charts);
        self.chart(frame, left, "loss", &self.train_loss, &self.test_loss, None);
        self.chart(frame, right, "accuracy, %", &self.train_accuracy, &self.test_accuracy, Some((0.0, 100.0)));
    }

    fn chart(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        name: &str,
        train: &Points,
        test: &Points,
        range: Option<(f64, f64)>,
    ) {
        let values = || train.iter().chain(test).map(|point| point.1).filter(|value| value.is_finite());
        let (low, high) = range.unwrap_or_else(|| {
            let highest = values().fold(0.0, f64::max);
            (0.0, if highest > 0.0 { 1.05 * highest } else { 1.0 })
        });
        let curve = |points, marker, color| {
            Dataset::default().data(points).marker(marker).graph_type(GraphType::Line).style(self.style(color))
        };
        let datasets = vec![curve(train, Marker::Braille, Color::Cyan), curve(test, Marker::Dot, Color::Yellow)];
        let labels = [low, 0.5 * (low + high), high]
            .map(|value| Span::raw(if high > 10.0 { format!("{value:.0}") } else { format!("{value:.2}") }));
        let title = Line::from(vec![
            Span::raw(format!("{name}: ")),
            Span::styled("training", self.style(Color::Cyan)),
            Span::raw(", "),
            Span::styled("• test", self.style(Color::Yellow)),
        ]);
        let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(3)]).areas(area);
        frame.render_widget(Paragraph::new(title), head);
        let x =
            Axis::default().bounds([0.0, self.epochs]).labels(["0".to_owned(), format!("epoch {:.0}", self.epochs)]);
        let y = Axis::default().bounds([low, high]).labels(labels);
        frame.render_widget(Chart::new(datasets).x_axis(x).y_axis(y).legend_position(None), body);
    }

    fn style(&self, color: Color) -> Style {
        if self.colored { Style::default().fg(color) } else { Style::default() }
    }
}

/// Adds a point; if there are too many, drops every other one.
fn push(points: &mut Points, point: (f64, f64)) {
    if points.len() == MOST_POINTS {
        let mut keep = false;
        points.retain(|_| {
            keep = !keep;
            keep
        });
    }
    points.push(point);
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;

    use super::*;

    /// The view on a terminal of this size in the middle of the second of two epochs.
    fn screen(width: u16, height: u16, train_loss: Points) -> Vec<String> {
        let state = State {
            title: "lenet5 on a device".into(),
            epochs: 2.0,
            total_steps: 2000,
            first_step: 0,
            steps_per_epoch: 1000.0,
            step: 1500,
            started: Instant::now(),
            status: "loss 0.500".into(),
            train_loss,
            train_accuracy: vec![(0.5, 20.0), (1.5, 60.0)],
            test_loss: vec![(1.0, 0.8)],
            test_accuracy: vec![(1.0, 50.0)],
            colored: false,
        };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen in memory");
        terminal.draw(|frame| state.draw(frame)).expect("nothing to fail");
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        (0..height).map(line).collect()
    }

    #[test]
    fn the_view_shows_how_far_a_run_is_and_its_curves() {
        let lines = screen(80, HEIGHT, vec![(0.5, 2.0), (1.5, 0.5)]);
        assert!(lines[0].starts_with("lenet5 on a device ") && lines[1].starts_with("loss 0.500 "), "{lines:#?}");
        assert!(lines[2].contains("epoch 2 of 2, step 1,500 of 2,000"), "{lines:#?}");
        assert!(lines[3].contains("loss: training, • test") && lines[3].contains("accuracy, %: "), "{lines:#?}");
        let charts = &lines[4..];
        assert!(charts[0].contains("2.10│") && charts[0].contains("100│"), "{lines:#?}");
        let is_braille = |c: char| ('\u{2801}'..='\u{28ff}').contains(&c);
        assert!(charts.iter().any(|line| line.contains(is_braille)) && charts.concat().contains('•'), "{lines:#?}");
        assert!(charts.concat().contains("epoch 2"), "{lines:#?}");
    }

    #[test]
    fn a_loss_that_is_no_number_and_a_terminal_made_tiny_are_drawn() {
        let lines = screen(80, HEIGHT, vec![(0.5, f64::NAN), (1.5, f64::INFINITY)]);
        assert!(lines[4].contains("0.84│"), "the test loss alone decides the range: {lines:#?}");
        for (width, height) in [(1, 1), (5, 3), (20, 6)] {
            assert_eq!(screen(width, height, vec![(0.5, 2.0)]).len(), usize::from(height));
        }
    }

    #[test]
    fn curves_keep_their_ends_when_they_are_thinned() {
        let mut points = Points::new();
        (0..10_000).for_each(|i| push(&mut points, (f64::from(i), 0.0)));
        assert!(points.len() <= MOST_POINTS && points[0].0 == 0.0 && points.last() == Some(&(9_999.0, 0.0)));
        assert!(points.is_sorted_by(|a, b| a.0 < b.0));
    }
}
