//! Length plot: a measure against the mean number of words, one dot per prompt.

use crate::evaluation::Evaluation;
use crate::measures::registry::{self, WORDS, columns};
use polyphony_io::svg::{Scale, Svg, hue};

const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 44.0;

/// The length plot of a column as SVG; `None` for the column of the number of words.
pub(super) fn length(evaluation: &Evaluation<'_>, measure: usize) -> Option<String> {
    let words = registry::column_index(WORDS).filter(|words| *words != measure)?;
    let points: Vec<Vec<[f64; 2]>> = (0..evaluation.models.len())
        .map(|model| {
            let lengths = evaluation.values(model, words);
            let values = evaluation.values(model, measure);
            let both = lengths.into_iter().zip(values);
            both.filter_map(|(x, y)| Some([x?, y?])).collect()
        })
        .collect();
    if points.iter().all(Vec::is_empty) {
        return None;
    }
    let all = |axis: usize| points.iter().flatten().map(move |point| point[axis]);
    let x = Scale::of(all(0), LEFT, WIDTH - RIGHT);
    let y = Scale::of(all(1), HEIGHT - BOTTOM, TOP);
    let title = columns()[measure].title;
    let mut picture = Svg::new(
        WIDTH,
        HEIGHT,
        &format!("{title} against words, one dot per prompt"),
    );
    picture.x_axis(&x, HEIGHT - BOTTOM, TOP, "Mean words of a text");
    picture.y_axis(&y, LEFT, WIDTH - RIGHT, title);
    for (model, points) in points.iter().enumerate() {
        picture.add(format_args!("<g class=\"{}\">", hue(model)));
        let dots = points
            .iter()
            .map(|[words, value]| [x.at(*words), y.at(*value)]);
        picture.dots(dots, 5.0, 0.6);
        picture.add(format_args!("</g>"));
    }
    Some(picture.done())
}
