//! Loss curve: the loss over steps, and on the evaluation split, as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 40.0;
const TOP: f64 = 36.0;
const RIGHT: f64 = 16.0;

/// The plot of the losses and of those on the evaluation split, each as (step, loss).
pub fn loss_plot(title: &str, losses: &[(f64, f64)], evaluations: &[(f64, f64)]) -> String {
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    let all = || losses.iter().chain(evaluations);
    let most_steps = all().map(|(step, _)| *step).fold(1.0, f64::max);
    let low = all().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
    let high = all()
        .map(|(_, loss)| *loss)
        .fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = if high > low {
        (low, high)
    } else {
        (low - 0.5, low + 0.5)
    };
    let x = |step: f64| LEFT + step / most_steps * (WIDTH - LEFT - RIGHT);
    let y = |loss: f64| TOP + (high - loss) / (high - low) * (HEIGHT - TOP - BOTTOM);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{title}</text>\n"
    );
    for part in 0..=4 {
        let loss = low + (high - low) * f64::from(part) / 4.0;
        let step = most_steps * f64::from(part) / 4.0;
        let _ = writeln!(
            text,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{loss:.4}</text>\n\
             <text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{step:.0}</text>",
            WIDTH - RIGHT,
            y(loss),
            y(loss),
            LEFT - 6.0,
            y(loss) + 4.0,
            x(step),
            HEIGHT - 18.0,
        );
    }
    for (name, points, colour, row) in [
        ("loss", losses, "#1f5fa8", 0.0),
        ("eval_loss", evaluations, "#c2571a", 1.0),
    ] {
        if points.is_empty() {
            continue;
        }
        let places: Vec<String> = points
            .iter()
            .map(|(step, loss)| format!("{:.1},{:.1}", x(*step), y(*loss)))
            .collect();
        let _ = writeln!(
            text,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>\n\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"{colour}\">{name}</text>",
            places.join(" "),
            WIDTH - RIGHT,
            20.0 + 14.0 * row,
        );
    }
    let _ = writeln!(
        text,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">steps</text>\n</svg>",
        WIDTH - RIGHT,
        HEIGHT - 4.0
    );
    text
}

#[cfg(test)]
mod tests {
    use super::loss_plot;

    #[test]
    fn flat_and_empty_curves_are_drawn() {
        let flat = loss_plot("flat", &[(1.0, 2.0), (2.0, 2.0)], &[]);
        assert_eq!(flat.matches("polyline").count(), 1);
        assert!(!flat.contains("NaN"));
        let two = loss_plot("two", &[(1.0, 2.0), (2.0, 1.0)], &[(2.0, 1.5)]);
        assert_eq!(two.matches("polyline").count(), 2);
    }
}
