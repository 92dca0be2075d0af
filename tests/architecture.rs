//! Architecture: no import cycle between modules of a crate, no import of a higher crate, no DataFusion below
//! the engine.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The crates, each by its folder, with the crates that its code must not use.
const CRATES: [(&str, &[&str]); 5] = [
    (
        "src/io",
        &[
            "polyphony_model",
            "polyphony_engine",
            "polyphony_trainer",
            "polyphony_eval",
        ],
    ),
    (
        "src/model",
        &[
            "polyphony_engine",
            "polyphony_trainer",
            "polyphony_eval",
            "datafusion",
        ],
    ),
    ("src/engine", &["polyphony_trainer", "polyphony_eval"]),
    (
        "trainer/src",
        &["polyphony_engine", "polyphony_eval", "datafusion"],
    ),
    ("eval/src", &["polyphony_trainer"]),
];

/// The import graph of a crate: each top-level module with the modules that its code names.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The source text without comments, and without modules and items under `#[cfg(test)]`.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("//") {
            continue;
        }
        if !trimmed.starts_with("#[cfg(test)]") {
            code.push_str(line);
            code.push('\n');
            continue;
        }
        // The item ends at a semicolon, or at a closing brace with the indentation of its first line.
        let indent = &line[..line.len() - trimmed.len()];
        for line in lines.by_ref() {
            let is_item = !line.trim_start().starts_with("#[");
            if (is_item && line.ends_with(';')) || line == format!("{indent}}}") {
                break;
            }
        }
    }
    code
}

/// The names that follow `path::` in the code: `path::{a::b, c}` names `a` and `c`.
fn named_after(code: &str, path: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let needle = format!("{path}::");
    for (at, _) in code.match_indices(&needle) {
        let is_whole = !code[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c));
        if !is_whole {
            continue;
        }
        let rest = &code[at + needle.len()..];
        let name = |text: &str| -> String {
            let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            text[..end.unwrap_or(text.len())].to_owned()
        };
        let Some(list) = rest.strip_prefix('{') else {
            names.insert(name(rest));
            continue;
        };
        let (mut depth, mut item) = (0, String::new());
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    names.insert(name(item.trim()));
                    item.clear();
                    continue;
                }
                _ => {}
            }
            item.push(c);
        }
        names.insert(name(item.trim()));
    }
    names
}

/// Adds a file of a top-level module to the graph.
fn add(graph: &mut Graph, module: &str, text: &str, modules: &BTreeSet<String>) {
    let named = named_after(&code(text), "crate");
    let others = named
        .into_iter()
        .filter(|name| name != module && modules.contains(name));
    graph.entry(module.to_owned()).or_default().extend(others);
}

/// An import cycle, if there is one: each module names the next, and the last names the first.
fn circle(graph: &Graph) -> Option<Vec<String>> {
    /// Depth-first search; returns the index in `path` at which a cycle begins.
    fn visit(graph: &Graph, path: &mut Vec<String>, done: &mut BTreeSet<String>) -> Option<usize> {
        let last = path.last()?.clone();
        for next in graph.get(&last).into_iter().flatten() {
            if let Some(start) = path.iter().position(|module| module == next) {
                return Some(start);
            }
            if !done.contains(next) {
                path.push(next.clone());
                if let Some(start) = visit(graph, path, done) {
                    return Some(start);
                }
                path.pop();
            }
        }
        done.insert(last);
        None
    }
    let mut done = BTreeSet::new();
    for module in graph.keys() {
        let mut path = vec![module.clone()];
        if let Some(start) = visit(graph, &mut path, &mut done) {
            return Some(path.split_off(start));
        }
    }
    None
}

/// The Rust files of a folder, except test files.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            if name != "tests" {
                files.extend(rust_files(&path));
            }
        } else if path.extension().is_some_and(|end| end == "rs")
            && !["tests.rs", "golden.rs"].contains(&name.as_str())
        {
            files.push(path);
        }
    }
    files
}

/// The top-level module of a file in a crate; none for the crate root.
fn module_of(root: &Path, file: &Path) -> Option<String> {
    let first = file.strip_prefix(root).unwrap().iter().next().unwrap();
    let name = first.to_str().unwrap().trim_end_matches(".rs");
    (!["lib", "main"].contains(&name)).then(|| name.to_owned())
}

/// The import graph of the crate whose source folder is `root`.
fn graph_of(root: &Path) -> Graph {
    let files = rust_files(root);
    let modules: BTreeSet<String> = files.iter().filter_map(|f| module_of(root, f)).collect();
    let mut graph = Graph::new();
    for file in &files {
        if let Some(module) = module_of(root, file) {
            add(
                &mut graph,
                &module,
                &fs::read_to_string(file).unwrap(),
                &modules,
            );
        }
    }
    graph
}

#[test]
fn no_crate_has_an_import_cycle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut circles = Vec::new();
    for (folder, _) in CRATES {
        let graph = graph_of(&root.join(folder));
        assert!(graph.len() > 3, "{folder} holds no modules");
        circles.extend(circle(&graph).map(|circle| format!("{folder}: {}", circle.join(" -> "))));
    }
    assert!(circles.is_empty(), "circles of modules: {circles:?}");
}

#[test]
fn no_crate_uses_a_higher_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (folder, forbidden) in CRATES {
        for file in rust_files(&root.join(folder)) {
            let code = code(&fs::read_to_string(&file).unwrap());
            for name in forbidden {
                let is_named = !named_after(&code, name).is_empty();
                assert!(!is_named, "{} names {name}", file.display());
            }
        }
        let manifest = root
            .join(folder.trim_end_matches("/src"))
            .join("Cargo.toml");
        let manifest = fs::read_to_string(manifest).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap();
        let dependencies = dependencies.split("\n[").next().unwrap();
        for name in forbidden {
            let name = name.replace('_', "-");
            let is_named = dependencies.lines().any(|line| {
                line.starts_with(&format!("{name}.")) || line.starts_with(&format!("{name} "))
            });
            assert!(!is_named, "{folder}/Cargo.toml names {name}");
        }
    }
}

#[test]
fn a_planted_cycle_and_a_planted_import_are_detected() {
    let modules: BTreeSet<String> = ["a", "b", "c"].map(str::to_owned).into();
    let mut graph = Graph::new();
    add(
        &mut graph,
        "a",
        "use crate::{Error, b::{self, X}};",
        &modules,
    );
    add(&mut graph, "b", "fn f() { crate::c::g(); }", &modules);
    add(&mut graph, "c", "// use crate::a;\n", &modules);
    assert_eq!(circle(&graph), None);
    let test = "#[cfg(test)]\nmod tests {\n    use crate::a;\n}\n";
    add(&mut graph, "c", test, &modules);
    assert_eq!(circle(&graph), None, "tests may name what they test");
    add(
        &mut graph,
        "c",
        "#[cfg(test)]\nmod tests;\nuse crate::a::Y;",
        &modules,
    );
    assert_eq!(circle(&graph).unwrap(), ["a", "b", "c"]);
    let code = code("use polyphony_engine::store;\n/// [`datafusion::x`]\nfn mydatafusion() {}\n");
    assert_eq!(named_after(&code, "polyphony_engine").len(), 1);
    assert!(named_after(&code, "datafusion").is_empty());
}
