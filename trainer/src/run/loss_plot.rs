//! Loss curve: the loss by step, on the training data and on the evaluation split, as SVG.

use polyphony_io::svg::{Scale, Svg, escape, hue, with_style};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 320.0;
const TOP: f64 = 48.0;
const RIGHT: f64 = 704.0;

/// The file name of the plot in the folder of a run.
pub(super) const LOSS_PLOT_FILE: &str = "loss.svg";

/// The plot of the training losses and the evaluation losses, each as (step, loss).
pub fn loss_plot(title: &str, losses: &[(f64, f64)], evaluations: &[(f64, f64)]) -> String {
    let all = || losses.iter().chain(evaluations);
    let x = Scale::of(all().map(|(step, _)| *step).chain([0.0]), LEFT, RIGHT);
    let y = Scale::of(all().map(|(_, loss)| *loss), BOTTOM, TOP);
    let mut svg = Svg::new(WIDTH, HEIGHT, title);
    svg.add(format_args!(
        "<text class=\"label\" x=\"{LEFT}\" y=\"18\">{}</text>",
        escape(title)
    ));
    svg.x_axis(&x, BOTTOM, TOP, "step");
    svg.y_axis(&y, LEFT, RIGHT, "loss");
    for (series, (name, points)) in [("loss", losses), ("eval_loss", evaluations)]
        .into_iter()
        .enumerate()
    {
        if points.is_empty() {
            continue;
        }
        let points: Vec<String> = points
            .iter()
            .map(|(step, loss)| format!("{:.1},{:.1}", x.at(*step), y.at(*loss)))
            .collect();
        let color = hue(series);
        svg.add(format_args!(
            "<g class=\"{color}\"><polyline class=\"line\" stroke-width=\"1.5\" points=\"{}\"/>\
             <text class=\"name\" x=\"{RIGHT}\" y=\"{}\" text-anchor=\"end\">{name}</text></g>",
            points.join(" "),
            18.0 + 14.0 * series as f64,
        ));
    }
    with_style(&svg.done())
}

#[cfg(test)]
mod tests {
    use super::loss_plot;

    #[test]
    fn flat_and_empty_curves_are_drawn() {
        let flat = loss_plot("flat", &[(1.0, 2.0), (2.0, 2.0)], &[]);
        assert_eq!(flat.matches("<polyline").count(), 1);
        assert!(!flat.contains("NaN"));
        let two = loss_plot("two", &[(1.0, 2.0), (2.0, 1.0)], &[(2.0, 1.5)]);
        assert_eq!(two.matches("<polyline").count(), 2);
    }
}
