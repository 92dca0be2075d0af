//! Plane plot: scatter plot of the models by mean reward and diversity, with 95 % confidence ellipses and the
//! Pareto front.

use super::Report;
use crate::space::Space;
use polyphony_io::svg::{Scale, Svg, hue, short};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 48.0;

/// The plot of a space as SVG; `None` if no model has both reward and diversity.
pub(super) fn plane(report: &Report, space: Space) -> Option<String> {
    let shown: Vec<_> = report
        .models
        .iter()
        .enumerate()
        .filter_map(|(at, model)| Some((at, model, (*model.ellipses.get(space))?)))
        .collect();
    if shown.is_empty() {
        return None;
    }
    // The bounding box of the rotated ellipses.
    let reach = |axis: usize| {
        shown.iter().flat_map(move |(_, _, ellipse)| {
            let (sin, cos) = ellipse.angle.to_radians().sin_cos();
            let [major, minor] = ellipse.half_axes;
            let half = match axis {
                0 => f64::hypot(major * cos, minor * sin),
                _ => f64::hypot(major * sin, minor * cos),
            };
            [ellipse.center[axis] - half, ellipse.center[axis] + half]
        })
    };
    let x = Scale::of(reach(0), LEFT, WIDTH - RIGHT);
    let y = Scale::of(reach(1), HEIGHT - BOTTOM, TOP);
    let name = space.name();
    let mut picture = Svg::new(
        WIDTH,
        HEIGHT,
        &format!("Reward and {name} diversity of {} models", shown.len()),
    );
    picture.x_axis(&x, HEIGHT - BOTTOM, TOP, "Reward");
    picture.y_axis(
        &y,
        LEFT,
        WIDTH - RIGHT,
        &format!("{} diversity", capital(name)),
    );
    let mut front: Vec<[f64; 2]> = shown
        .iter()
        .filter(|(_, model, _)| *model.on_front.get(space) == Some(true))
        .map(|(_, _, ellipse)| [x.at(ellipse.center[0]), y.at(ellipse.center[1])])
        .collect();
    front.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let points: Vec<String> = front
        .iter()
        .map(|[x, y]| format!("{x:.1},{y:.1}"))
        .collect();
    picture.add(format_args!(
        "<polyline class=\"front\" fill=\"none\" points=\"{}\"/>",
        points.join(" ")
    ));
    let mut labels: Vec<[f64; 2]> = Vec::new();
    for (at, model, ellipse) in &shown {
        let [cx, cy] = [x.at(ellipse.center[0]), y.at(ellipse.center[1])];
        picture.add(format_args!(
            "<g class=\"{}\"><polygon class=\"ellipse\" points=\"{}\"/>\
             <circle class=\"dot\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"4\"/>",
            hue(*at),
            outline(ellipse, &x, &y)
        ));
        // Place the name above its point, or move it down until it overlaps no other name.
        let mut label_y = cy - 10.0;
        let near = |label_y: f64| {
            let mut others = labels.iter();
            others.any(|[x, y]| (y - label_y).abs() < 13.0 && (x - cx).abs() < WIDTH * 0.25)
        };
        while near(label_y) {
            label_y += 13.0;
        }
        labels.push([cx, label_y]);
        let right = cx > WIDTH * 0.6;
        picture.add(format_args!(
            "<text class=\"name\" x=\"{:.1}\" y=\"{label_y:.1}\" text-anchor=\"{}\">{}</text></g>",
            if right { cx - 8.0 } else { cx + 8.0 },
            if right { "end" } else { "start" },
            short(&model.name)
        ));
    }
    Some(picture.done())
}

/// The SVG polygon points of an ellipse in data coordinates. A polygon, because the scales stretch both axes
/// differently.
fn outline(ellipse: &crate::stats::ellipse::Ellipse, x: &Scale, y: &Scale) -> String {
    const POINTS: u32 = 72;
    let (sin, cos) = ellipse.angle.to_radians().sin_cos();
    let [major, minor] = ellipse.half_axes;
    let point = |number: u32| {
        let theta = f64::from(number) / f64::from(POINTS) * std::f64::consts::TAU;
        let (along, across) = (major * theta.cos(), minor * theta.sin());
        format!(
            "{:.1},{:.1}",
            x.at(ellipse.center[0] + along * cos - across * sin),
            y.at(ellipse.center[1] + along * sin + across * cos)
        )
    };
    (0..POINTS).map(point).collect::<Vec<_>>().join(" ")
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}
