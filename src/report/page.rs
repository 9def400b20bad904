//! A self-contained page about a finished run, without references to the web or to other files.

use std::path::Path;

use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, context};

use super::confusion::{shade, share};
use super::curves::curves;
use super::pictures::{filter_uris, image_uri};
use super::recipe::configuration;
use super::scores::{class_scores, top_5_accuracy};
use crate::error::{Error, Result};
use crate::run::{Finish, Metrics, SavedRun};
use crate::words::duration;

/// Maximum number of misclassified images shown.
const MOST_MISTAKES: usize = 30;
/// Maximum number of classes for which the matrix is shown.
const MOST_MATRIX_CLASSES: usize = 100;

/// What the page's template needs; every text is escaped as it is put in.
#[derive(serde::Serialize)]
struct Page {
    title: String,
    source: String,
    /// Name of the images that it was tested on.
    tested_on: &'static str,
    run: String,
    figures: Vec<(String, String)>,
    configuration: Vec<(&'static str, String)>,
    curves: String,
    classes: Vec<ClassRow>,
    names: Vec<String>,
    /// Rows of the matrix: cells with count, background and whether the text is light.
    matrix: Vec<(String, Vec<Cell>)>,
    mistakes: Vec<Mistake>,
    mistakes_in_all: usize,
    images: usize,
    filters: Vec<String>,
}

#[derive(serde::Serialize)]
struct ClassRow {
    class: String,
    images: usize,
    accuracy: String,
    precision: String,
    recall: String,
    /// The recall for a bar, in percent.
    bar: f64,
}

#[derive(serde::Serialize)]
struct Cell {
    count: usize,
    background: String,
    light: bool,
    right: bool,
}

#[derive(serde::Serialize)]
struct Mistake {
    picture: String,
    label: String,
    guess: String,
    probability: String,
}

/// The page about a run that has just ended.
pub(super) fn page(finish: &Finish<'_>, run: &SavedRun, metrics: &Metrics, path: &Path) -> Result<String> {
    let page = Page::new(finish, run, metrics, path)?;
    let fail = |e: minijinja::Error| Error::Report { path: path.to_owned(), message: e.to_string() };
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let template = environment.template_from_str(include_str!("page.html")).map_err(fail)?;
    template.render(context! { page => Value::from(Serde(&page)) }).map_err(fail)
}

impl Page {
    fn new(finish: &Finish<'_>, run: &SavedRun, metrics: &Metrics, path: &Path) -> Result<Self> {
        let (evaluation, names) = (finish.evaluation, finish.test_set.class_names());
        let percent =
            |share: Option<f64>| share.map_or("–".to_owned(), |share| format!("{:.2}\u{a0}%", 100.0 * share));
        let tested_on = run.config.tested_on();
        let mut figures = vec![
            (format!("{tested_on} accuracy"), percent(Some(evaluation.accuracy()))),
            (format!("{tested_on} loss"), format!("{:.4}", evaluation.loss)),
        ];
        if let Some(share) = top_5_accuracy(evaluation) {
            figures.insert(1, ("top-5 accuracy".into(), percent(Some(share))));
        }
        if let Some(with_tta) = finish.with_tta {
            figures.insert(1, (format!("with {}", run.config.tta), percent(Some(with_tta.accuracy()))));
        }
        if let Some(last) = metrics.epochs.last() {
            let mut rates: Vec<_> = metrics.epochs.iter().map(|epoch| epoch.images_per_second).collect();
            rates.sort_by(f64::total_cmp);
            let done = run.done(last);
            if let Some((number, thing)) = done.split_once(' ') {
                figures.push((thing.into(), number.into()));
            }
            figures.push(("time".into(), duration(last.seconds)));
            figures.push(("images/s (median)".into(), format!("{:.0}", rates[rates.len() / 2])));
        }
        let classes = class_scores(evaluation, names).into_iter().map(|score| ClassRow {
            class: score.class,
            images: score.images,
            accuracy: percent(score.accuracy),
            precision: percent(score.precision),
            recall: percent(score.recall),
            bar: 100.0 * score.recall.unwrap_or(0.0),
        });
        let matrix = names.iter().zip(&evaluation.confusion).enumerate().map(|(class, (name, row))| {
            let cells = row.iter().enumerate().map(|(guess, &count)| {
                let ([r, g, b], light) = shade(share(count, row));
                Cell { count, background: format!("#{r:02x}{g:02x}{b:02x}"), light, right: guess == class }
            });
            (name.clone(), cells.collect())
        });
        Ok(Page {
            title: format!(
                "{}: {:.2} % of {tested_on} images correct",
                run.network_name(),
                100.0 * evaluation.accuracy(),
            ),
            source: run.source.clone(),
            tested_on,
            run: finish.run.display().to_string(),
            figures,
            configuration: configuration(run, finish.test_set.shape()),
            curves: curves(run, &metrics.epochs)?.svg(),
            classes: classes.collect(),
            names: names.to_vec(),
            matrix: if names.len() <= MOST_MATRIX_CLASSES { matrix.collect() } else { Vec::new() },
            mistakes: mistakes(finish, path)?,
            mistakes_in_all: evaluation.images - evaluation.correct,
            images: evaluation.images,
            filters: filter_uris(finish.network, path)?,
        })
    }
}

/// The most confident errors, the most confident first.
fn mistakes(finish: &Finish<'_>, path: &Path) -> Result<Vec<Mistake>> {
    let (set, names) = (finish.test_set, finish.test_set.class_names());
    let guesses = finish.evaluation.guesses.iter().zip(set.labels()).enumerate();
    let mut wrong: Vec<_> = guesses.filter(|(_, (guess, label))| guess.class != **label).collect();
    wrong.sort_by(|(_, (a, _)), (_, (b, _))| b.probability.total_cmp(&a.probability));
    let name = |class: u16| names.get(usize::from(class)).cloned().unwrap_or_default();
    wrong
        .into_iter()
        .take(MOST_MISTAKES)
        .map(|(index, (guess, &label))| {
            Ok(Mistake {
                picture: image_uri(set.image(index).unwrap_or_default(), set.shape(), path)?,
                label: name(label),
                guess: name(guess.class),
                probability: format!("{:.1}\u{a0}%", 100.0 * guess.probability),
            })
        })
        .collect()
}
