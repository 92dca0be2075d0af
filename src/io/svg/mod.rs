//! SVG drawing: scales, axes, dots and labels; colours are classes of a style sheet.

use std::fmt::Write as _;

/// Colours for both light and dark, by class.
pub const STYLE: &str = include_str!("plot.css");

/// Number of colours.
const HUES: usize = 10;

/// The class of a model's colour.
pub fn hue(model: usize) -> String {
    format!("m{}", model % HUES)
}

/// A plot as a file of its own, with the style sheet inside.
pub fn with_style(svg: &str) -> String {
    match svg.find('>') {
        Some(at) => format!("{}<style>{STYLE}</style>{}\n", &svg[..=at], &svg[at + 1..]),
        None => svg.to_owned(),
    }
}

/// Text escaped for XML; control characters, which XML forbids, become spaces.
pub fn escape(text: &str) -> String {
    let printable: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    html_escape::encode_double_quoted_attribute(&printable).into_owned()
}

/// A name cut to the length that fits next to a point, escaped.
pub fn short(name: &str) -> String {
    const LONGEST: usize = 26;
    if name.chars().count() <= LONGEST {
        return escape(name);
    }
    let start: String = name.chars().take(LONGEST - 1).collect();
    escape(&format!("{start}…"))
}

/// A linear scale: values along an axis to coordinates of the plot.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// A scale that holds all finite values with a margin, from coordinate `from` to `to`.
    pub fn of(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            low = low.min(value);
            high = high.max(value);
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let margin = if high > low {
            (high - low) * 0.06
        } else {
            low.abs().max(1.0) * 0.05
        };
        Self {
            low: low - margin,
            high: high + margin,
            from,
            to,
        }
    }

    /// The coordinate of a value.
    pub fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// The values of the ticks: about five round numbers.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0];
        let step = steps
            .iter()
            .find(|step| **step * power >= rough)
            .unwrap_or(&10.0)
            * power;
        let first = (self.low / step).ceil() as i64;
        let last = (self.high / step).floor() as i64;
        (first..=last).map(|tick| tick as f64 * step).collect()
    }
}

/// A plot under construction.
#[derive(Debug)]
pub struct Svg {
    text: String,
}

impl Svg {
    /// An empty plot; `title` is its text for screen readers.
    pub fn new(width: f64, height: f64, title: &str) -> Self {
        let title = escape(title);
        Self {
            text: format!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" role=\"img\" viewBox=\"0 0 \
                 {width} {height}\" font-family=\"system-ui, sans-serif\" font-size=\"12\"><title>{title}\
                 </title>"
            ),
        }
    }

    /// Adds an element.
    pub fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a text cannot fail.
        let _ = self.text.write_fmt(element);
    }

    /// Dots of a width, as one path: there may be thousands.
    pub fn dots(&mut self, places: impl Iterator<Item = [f64; 2]>, width: f64, opacity: f64) {
        let path: String = places.map(|[x, y]| format!("M{x:.1} {y:.1}h0")).collect();
        self.add(format_args!(
            "<path class=\"line\" stroke-width=\"{width}\" stroke-linecap=\"round\" \
             stroke-opacity=\"{opacity}\" d=\"{path}\"/>"
        ));
    }

    /// The horizontal axis at `y`, with ticks and grid lines up to `top`.
    pub fn x_axis(&mut self, scale: &Scale, y: f64, top: f64, name: &str) {
        for tick in scale.ticks() {
            let x = scale.at(tick);
            self.add(format_args!(
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{top}\" y2=\"{y}\"/>\
                 <text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                y + 16.0,
                tick_label(tick)
            ));
        }
        self.add(format_args!(
            "<line class=\"axis\" x1=\"{}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/>\
             <text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            scale.from,
            scale.to,
            f64::midpoint(scale.from, scale.to),
            y + 34.0,
            escape(name)
        ));
    }

    /// The vertical axis at `x`, with ticks and grid lines to `right`; its label is above it.
    pub fn y_axis(&mut self, scale: &Scale, x: f64, right: f64, name: &str) {
        for tick in scale.ticks() {
            let y = scale.at(tick);
            self.add(format_args!(
                "<line class=\"grid\" x1=\"{x}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                x - 6.0,
                y + 4.0,
                tick_label(tick)
            ));
        }
        self.add(format_args!(
            "<line class=\"axis\" x1=\"{x}\" x2=\"{x}\" y1=\"{}\" y2=\"{}\"/>\
             <text class=\"label\" x=\"8\" y=\"{:.1}\">{}</text>",
            scale.from,
            scale.to,
            scale.to - 12.0,
            escape(name)
        ));
    }

    /// The finished SVG.
    pub fn done(mut self) -> String {
        self.text.push_str("</svg>");
        self.text
    }
}

/// Formats the label of a tick with up to four decimal places.
fn tick_label(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}
