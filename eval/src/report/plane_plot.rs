//! Plane plot: scatter plot of the models by mean reward and diversity, with 95 % confidence ellipses, the Pareto
//! front, and a line through the scales of each adapter.

use super::Report;
use crate::space::Space;
use polyphony_io::svg::{Scale, Svg, hue, short};

const WIDTH: f64 = 640.0;
/// The height without the legend.
const HEIGHT: f64 = 440.0;
/// The height of a line of the legend.
const LEGEND: f64 = 16.0;
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
    let curves = curves(report, space);
    let legend = LEGEND * curves.len() as f64;
    let (top, height) = (TOP + legend, HEIGHT + legend);
    let x = Scale::of(reach(0), LEFT, WIDTH - RIGHT);
    let y = Scale::of(reach(1), height - BOTTOM, top);
    let name = space.name();
    let mut picture = Svg::new(
        WIDTH,
        height,
        &format!("Reward and {name} diversity of {} models", shown.len()),
    );
    picture.x_axis(&x, height - BOTTOM, top, "Reward");
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
    for (line, curve) in curves.iter().enumerate() {
        curve.draw(&mut picture, &x, &y, TOP - 24.0 + LEGEND * line as f64);
    }
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
        // The legend names the adapter, so its scale is enough.
        let on_curve = curves
            .iter()
            .find_map(|curve| Some((curve, curve.scale_of(*at)?)));
        let label = on_curve.map_or_else(
            || short(&model.marked_name()),
            |(_, scale)| scale.to_string(),
        );
        // Beside a curve, not on it.
        let right = on_curve.map_or(cx > WIDTH * 0.6, |(curve, _)| curve.rises());
        picture.add(format_args!(
            "<text class=\"name\" x=\"{:.1}\" y=\"{label_y:.1}\" text-anchor=\"{}\">{}</text></g>",
            if right { cx - 8.0 } else { cx + 8.0 },
            if right { "end" } else { "start" },
            label
        ));
    }
    Some(picture.done())
}

/// An adapter in the plot: its points in order of scale.
struct Curve<'a> {
    adapter: &'a str,
    points: Vec<Point>,
}

/// A model on a curve: its index, scale, and mean reward and diversity.
struct Point {
    model: usize,
    scale: f64,
    center: [f64; 2],
}

/// The curves with two or more models that have reward and diversity.
fn curves(report: &Report, space: Space) -> Vec<Curve<'_>> {
    let index = |name: &str| report.models.iter().position(|model| model.name == name);
    let curves = report.adapter_curves.iter().map(|curve| {
        let points = curve.points.iter().filter_map(|point| {
            let model = index(&point.model)?;
            let ellipse = (*report.models[model].ellipses.get(space))?;
            let (scale, center) = (point.adapter_scale, ellipse.center);
            Some(Point {
                model,
                scale,
                center,
            })
        });
        Curve {
            adapter: &curve.adapter,
            points: points.collect(),
        }
    });
    curves.filter(|curve| curve.points.len() > 1).collect()
}

impl Curve<'_> {
    /// The scale of a model, if it is on the curve.
    fn scale_of(&self, model: usize) -> Option<f64> {
        let point = self.points.iter().find(|point| point.model == model)?;
        Some(point.scale)
    }

    /// Whether diversity rises with reward from the first to the last point.
    fn rises(&self) -> bool {
        match self.points.as_slice() {
            [first, .., last] => {
                (last.center[0] - first.center[0]) * (last.center[1] - first.center[1]) > 0.0
            }
            _ => false,
        }
    }

    /// Draws the line through the points, and its entry in the legend at height `legend`.
    fn draw(&self, picture: &mut Svg, x: &Scale, y: &Scale, legend: f64) {
        let hue = hue(self.points.first().map_or(0, |point| point.model));
        let points = self.points.iter().map(|point| {
            let [reward, diversity] = point.center;
            format!("{:.1},{:.1}", x.at(reward), y.at(diversity))
        });
        let scales: Vec<String> = self
            .points
            .iter()
            .map(|point| point.scale.to_string())
            .collect();
        let right = WIDTH - RIGHT;
        picture.add(format_args!(
            "<g class=\"{hue}\"><polyline class=\"curve\" points=\"{}\"/>\
             <text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}: adapter scale {}</text>\
             <line class=\"curve\" x1=\"{:.1}\" x2=\"{right:.1}\" y1=\"{legend:.1}\" y2=\"{legend:.1}\"/></g>",
            points.collect::<Vec<_>>().join(" "),
            right - 32.0,
            legend + 4.0,
            short(self.adapter),
            scales.join(" – "),
            right - 26.0,
        ));
    }
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
