//! Shared embedder: the warning that an embedder of the report also weighted or selected the training pairs of a
//! model, so that diversity is measured by the instrument that training has optimised.

use crate::config::{EvalConfig, SpaceSource};
use crate::outputs::{Influence, Input};
use crate::space::Space;

/// Embedders to measure by instead, for each space: the second where the first is in use.
const OTHERS: [(Space, [&str; 2]); 2] = [
    (
        Space::Semantic,
        ["BAAI/bge-m3", "sentence-transformers/all-MiniLM-L6-v2"],
    ),
    (
        Space::Style,
        ["AnnaWegmann/Style-Embedding", "StyleDistance/styledistance"],
    ),
];

/// A warning for each space whose embedder has weighted or selected training pairs.
pub(crate) fn warnings(inputs: &[Input], config: &EvalConfig) -> Vec<String> {
    let warning = |(space, others): (Space, [&str; 2])| {
        let SpaceSource::Embedder(embedder) = config.spaces.get(space) else {
            return None;
        };
        let (name, revision) = (embedder.name(), embedder.revision());
        let influences = inputs.iter().filter_map(|input| {
            let influence = input.adapter.as_ref()?.influence_of(name, revision)?;
            Some((input.file.as_str(), influence))
        });
        sentence(&influences.collect::<Vec<_>>(), space, name, others)
    };
    OTHERS.into_iter().filter_map(warning).collect()
}

/// The warning about the files of outputs, each with what the embedder did to its training pairs.
fn sentence(
    files: &[(&str, Influence)],
    space: Space,
    name: &str,
    others: [&str; 2],
) -> Option<String> {
    let has = |influence| files.iter().any(|(_, other)| *other == influence);
    let verb = match (has(Influence::Weighted), has(Influence::Selected)) {
        (true, true) => "weighted or selected",
        (true, false) => "weighted",
        (false, true) => "selected",
        (false, false) => return None,
    };
    let other = match others {
        [first, second] if name.starts_with(first) => second,
        [first, _] => first,
    };
    let mut names: Vec<&str> = files.iter().map(|(file, _)| *file).collect();
    names.dedup();
    let (names, flag) = (names.join(", "), space.name());
    Some(format!(
        "{flag}: {name} has also {verb} the pairs that the models of {names} were trained on, so this diversity is \
         measured by what training has optimised. Measure it by a second embedder, too: --{flag} {other}."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_names_files_and_a_second_embedder() {
        let say =
            |files: &[(&str, Influence)], name| sentence(files, Space::Semantic, name, OTHERS[0].1);
        assert_eq!(say(&[], "builtin:words"), None);
        assert_eq!(
            say(&[("a.jsonl", Influence::Weighted)], "builtin:words").unwrap(),
            "semantic: builtin:words has also weighted the pairs that the models of a.jsonl were trained on, so this \
             diversity is measured by what training has optimised. Measure it by a second embedder, too: --semantic \
             BAAI/bge-m3."
        );
        let both = [("a", Influence::Weighted), ("b", Influence::Selected)];
        let both = say(&both, "BAAI/bge-m3").unwrap();
        assert!(both.contains("weighted or selected the pairs that the models of a, b"));
        assert!(both.ends_with("--semantic sentence-transformers/all-MiniLM-L6-v2."));
    }
}
