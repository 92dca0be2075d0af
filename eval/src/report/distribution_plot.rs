//! Distribution plot: a measure over prompts, a strip of dots and a box (quartiles) per model.

use crate::evaluation::Evaluation;
use crate::measures::registry::columns;
use crate::stats::bootstrap::percentile;
use polyphony_io::svg::{Scale, Svg, hue, short};

const WIDTH: f64 = 640.0;
const LEFT: f64 = 212.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const ROW: f64 = 36.0;
const BOTTOM: f64 = 44.0;

/// The distribution plot of a column as SVG, one row per model; `None` without values.
pub(super) fn distribution(evaluation: &Evaluation<'_>, measure: usize) -> Option<String> {
    let rows: Vec<Vec<f64>> = (0..evaluation.models.len())
        .map(|model| {
            evaluation
                .values(model, measure)
                .into_iter()
                .flatten()
                .collect()
        })
        .collect();
    if rows.iter().all(Vec::is_empty) {
        return None;
    }
    let bottom = TOP + ROW * rows.len() as f64;
    let x = Scale::of(rows.iter().flatten().copied(), LEFT, WIDTH - RIGHT);
    let title = columns()[measure].title;
    let description = format!("{title} by prompt, one row per model");
    let mut picture = Svg::new(WIDTH, bottom + BOTTOM, &description);
    picture.x_axis(&x, bottom, TOP, title);
    for (at, (values, name)) in rows.iter().zip(&evaluation.models).enumerate() {
        let middle = TOP + ROW * (at as f64 + 0.5);
        picture.add(format_args!(
            "<g class=\"{}\"><text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            hue(at),
            LEFT - 10.0,
            middle + 4.0,
            short(name)
        ));
        let mut sorted = values.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let dots = values.iter().enumerate().map(|(number, value)| {
            // Deterministic vertical jitter by the index of the prompt.
            let lift = ((number * 7) % 13) as f64 - 6.0;
            [x.at(*value), middle + lift]
        });
        picture.dots(dots, 4.0, 0.45);
        if let [_, _, ..] = sorted.as_slice() {
            let [low, median, high] =
                [0.25, 0.5, 0.75].map(|share| x.at(percentile(&sorted, share)));
            picture.add(format_args!(
                "<rect class=\"box\" x=\"{low:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"20\" rx=\"2\"/>\
                 <line class=\"line\" stroke-width=\"2\" x1=\"{median:.1}\" x2=\"{median:.1}\" \
                 y1=\"{:.1}\" y2=\"{:.1}\"/>",
                middle - 10.0,
                (high - low).max(0.5),
                middle - 10.0,
                middle + 10.0
            ));
        }
        picture.add(format_args!("</g>"));
    }
    Some(picture.done())
}
