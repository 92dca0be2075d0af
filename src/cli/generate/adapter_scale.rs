//! Adapter scales of `polyphony generate`: the output file and the model name of each.

use std::path::{Path, PathBuf};

use polyphony_io::Error;

/// The output file of each scale: `out` itself for one scale or none, else `out` with `-scale-X` before its
/// extension.
pub(super) fn files(scales: &[f64], out: &Path) -> Vec<(Option<f64>, PathBuf)> {
    // Minus zero is zero.
    let scales: Vec<f64> = scales.iter().map(|scale| scale + 0.0).collect();
    match scales.as_slice() {
        [] => vec![(None, out.to_path_buf())],
        [scale] => vec![(Some(*scale), out.to_path_buf())],
        several => {
            let file = |scale: &f64| (Some(*scale), file_at_scale(out, *scale));
            several.iter().map(file).collect()
        }
    }
}

fn file_at_scale(out: &Path, scale: f64) -> PathBuf {
    let mut name = out.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-scale-{scale}"));
    if let Some(extension) = out.extension() {
        name.push(".");
        name.push(extension);
    }
    out.with_file_name(name)
}

/// The model's name with its scale, by which `eval` joins the scales of one adapter: `ddpo@scale=0.5`.
pub(super) fn model_name(name: String, scale: Option<f64>) -> String {
    match scale {
        Some(scale) => format!("{name}@scale={scale}"),
        None => name,
    }
}

/// Refuses a scale that is given twice: both would write one file.
pub(super) fn refuse_repeated(scales: &[f64]) -> Result<(), Error> {
    let mut sorted = scales.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => {
            let message = format!("has {} twice", pair[0]);
            Err(Error::config(
                "--adapter-scale",
                message,
                "name each scale once",
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_scales_have_files_of_their_own() {
        let names = |scales: &[f64], out: &str| -> Vec<String> {
            let files = files(scales, Path::new(out)).into_iter();
            files.map(|(_, file)| file.display().to_string()).collect()
        };
        assert_eq!(names(&[], "a/o.jsonl"), ["a/o.jsonl"]);
        assert_eq!(names(&[0.5], "a/o.jsonl"), ["a/o.jsonl"]);
        assert_eq!(
            names(&[-0.0, 0.25, 1.0], "a/o.x.jsonl"),
            [
                "a/o.x-scale-0.jsonl",
                "a/o.x-scale-0.25.jsonl",
                "a/o.x-scale-1.jsonl"
            ]
        );
        assert_eq!(names(&[0.0, 1.5], "o"), ["o-scale-0", "o-scale-1.5"]);
        assert_eq!(model_name("m".to_owned(), Some(1.0)), "m@scale=1");
        assert_eq!(model_name("m".to_owned(), None), "m");
        assert!(
            refuse_repeated(&[0.5, 1.0, 0.50]).is_err() && refuse_repeated(&[0.0, 1.0]).is_ok()
        );
        assert!(refuse_repeated(&[-0.0, 0.0]).is_err());
    }
}
