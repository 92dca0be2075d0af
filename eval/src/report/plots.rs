//! Plots of a report: SVG files in the folder `plots`, and the same plots in `report.html`.

use std::fs;
use std::path::Path;

use polyphony_engine::{Error, Result};
use polyphony_io::atomic::write_atomic;
use serde::Serialize;

use polyphony_io::svg;

use super::{Report, distribution_plot, length_plot, plane_plot};
use crate::evaluation::Evaluation;
use crate::measures::registry::columns;
use crate::space::{PerSpace, Space};

/// The plots of a report.
#[derive(Debug, Serialize)]
pub(super) struct Plots {
    planes: PerSpace<Option<String>>,
    distributions: Vec<Plot>,
    length: Vec<Plot>,
}

/// A plot of one column.
#[derive(Debug, Serialize)]
struct Plot {
    measure: &'static str,
    title: &'static str,
    svg: String,
}

impl Plots {
    /// File name (without extension) and SVG of every plot.
    fn all(&self) -> Vec<(String, &str)> {
        let planes = Space::ALL.into_iter().filter_map(|space| {
            let svg = self.planes.get(space).as_deref()?;
            Some((format!("plane_{}", space.name()), svg))
        });
        let of = |kind: &'static str| move |plot: &'_ Plot| format!("{kind}_{}", plot.measure);
        let distributions = self.distributions.iter();
        let distributions = distributions.map(|plot| (of("distribution")(plot), plot.svg.as_str()));
        let length = self
            .length
            .iter()
            .map(|plot| (of("length")(plot), plot.svg.as_str()));
        planes.chain(distributions).chain(length).collect()
    }
}

pub(super) fn plots(report: &Report, evaluation: &Evaluation<'_>) -> Plots {
    let plot = |svg: fn(&Evaluation<'_>, usize) -> Option<String>| {
        move |at: usize| {
            Some(Plot {
                measure: columns()[at].name,
                title: columns()[at].title,
                svg: svg(evaluation, at)?,
            })
        }
    };
    let measures = evaluation.defined_columns();
    // Only leading measures are plotted against length.
    let leading = [
        "reward",
        "semantic",
        "style",
        "homogenization",
        "self_bleu",
        "compression_ratio",
        "ngram_diversity",
    ];
    let lengths = measures
        .iter()
        .copied()
        .filter(|at| leading.contains(&columns()[*at].name));
    Plots {
        planes: PerSpace::from_fn(|space| plane_plot::plane(report, space)),
        length: lengths.filter_map(plot(length_plot::length)).collect(),
        distributions: measures
            .iter()
            .copied()
            .filter_map(plot(distribution_plot::distribution))
            .collect(),
    }
}

/// Writes each plot to an SVG file in `folder`, and removes the plots of an earlier report.
///
/// # Errors
/// When a file cannot be written or removed.
pub(super) fn write(plots: &Plots, folder: &Path) -> Result<()> {
    remove_plots(folder)?;
    for (name, svg) in plots.all() {
        let path = folder.join(format!("{name}.svg"));
        write_atomic(&path, svg::with_style(svg).as_bytes())?;
    }
    Ok(())
}

/// Removes the plots of an earlier report, because the new report may have fewer plots.
fn remove_plots(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let ours = |name: &String| {
            let prefixes = ["plane_", "distribution_", "length_"];
            let is_svg = path.extension().is_some_and(|end| end == "svg");
            is_svg && prefixes.iter().any(|prefix| name.starts_with(prefix))
        };
        if name.as_ref().is_some_and(ours) {
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(())
}
