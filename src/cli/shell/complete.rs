//! Completion: SQL keywords, functions, tables, columns, meta commands, and files inside quotes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use polyphony_engine::datafusion::prelude::SessionContext;

use super::command::COMMANDS;
use super::input::is_command;

/// SQL keywords to complete, of statements that are common in an interactive shell.
const KEYWORDS: &str = "ALL ANALYZE AND AS ASC BETWEEN BY CASE CAST COPY CREATE CROSS CSV DELETE DESC DESCRIBE \
    DISTINCT DROP ELSE END EXCEPT EXISTS EXPLAIN EXTERNAL FILTER FROM FULL GROUP HAVING ILIKE IN \
    INNER INSERT INTERSECT INTO IS JOIN LATERAL LEFT LIKE LIMIT LOCATION NOT NULL OFFSET ON OR \
    ORDER OUTER OVER PARQUET PARTITION RIGHT SELECT SET SHOW STORED TABLE TABLES THEN UNION USING \
    VALUES VIEW WHEN WHERE WINDOW WITH";

/// Keywords that a table name follows.
const BEFORE_TABLE: [&str; 6] = ["FROM", "JOIN", "INTO", "TABLE", "DESCRIBE", "\\D"];

/// The names in a session that completion offers.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Tables and views with their columns.
    tables: BTreeMap<String, Vec<String>>,
    functions: BTreeSet<String>,
}

impl Names {
    /// The names in a session, except those that cannot be read.
    pub(super) async fn of(context: &SessionContext) -> Self {
        let mut names = Self::default();
        for catalog in context.catalog_names() {
            let Some(catalog) = context.catalog(&catalog) else {
                continue;
            };
            for schema in catalog.schema_names() {
                let Some(schema) = catalog
                    .schema(&schema)
                    .filter(|_| schema != "information_schema")
                else {
                    continue;
                };
                for table in schema.table_names() {
                    let columns = match schema.table(&table).await {
                        Ok(Some(provider)) => {
                            let schema = provider.schema();
                            let fields = schema.fields().iter();
                            fields.map(|field| field.name().clone()).collect()
                        }
                        _ => Vec::new(),
                    };
                    names.tables.insert(table, columns);
                }
            }
        }
        let state = context.state();
        names
            .functions
            .extend(state.scalar_functions().keys().cloned());
        names
            .functions
            .extend(state.aggregate_functions().keys().cloned());
        names
            .functions
            .extend(state.window_functions().keys().cloned());
        names
    }
}

/// The candidates for the word at the end of `text`, and where that word begins.
pub(super) fn complete(names: &Names, text: &str) -> (usize, Vec<String>) {
    if let Some(begin) = open_quote(text) {
        let (start, files) = files(&text[begin..]);
        return (begin + start, files);
    }
    let start = text
        .rfind(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .map_or(0, |last| {
            last + text[last..].chars().next().map_or(1, char::len_utf8)
        });
    let (before, word) = text.split_at(start);
    if is_command(text)
        && let Some((typed, candidates)) = command(names, text.trim_start())
    {
        return (text.len() - typed.len(), candidates);
    }
    let matching = |name: &&str| {
        name.get(..word.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(word))
    };
    let pick = |all: &mut dyn Iterator<Item = &str>| -> Vec<String> {
        let unique: BTreeSet<&str> = all.filter(|name| matching(name)).collect();
        unique.into_iter().map(str::to_owned).collect()
    };
    let mut tables = names.tables.keys().map(String::as_str);
    let mut columns = names.tables.values().flatten().map(String::as_str);
    let last = before.trim_end();
    if let Some(qualified) = before.strip_suffix('.') {
        let table = last_word(qualified);
        let all = names.tables.get(table).into_iter().flatten();
        let of_table = pick(&mut all.map(String::as_str));
        // Not a table: an alias, which may be of any table.
        return (
            start,
            if of_table.is_empty() {
                pick(&mut columns)
            } else {
                of_table
            },
        );
    }
    if BEFORE_TABLE.contains(&last_word(last).to_uppercase().as_str()) {
        return (start, pick(&mut tables));
    }
    if word.is_empty() {
        return (start, Vec::new());
    }
    let mut candidates = pick(&mut tables.chain(columns));
    candidates.extend(pick(&mut names.functions.iter().map(String::as_str)));
    let is_lower = word.chars().all(|letter| !letter.is_uppercase());
    for keyword in KEYWORDS.split_whitespace().filter(matching) {
        candidates.push(if is_lower {
            keyword.to_lowercase()
        } else {
            keyword.to_owned()
        });
    }
    (start, candidates)
}

/// The candidates of a meta command: its own name, or its argument.
fn command<'a>(names: &Names, text: &'a str) -> Option<(&'a str, Vec<String>)> {
    let Some((name, argument)) = text.split_once(' ') else {
        let matching: BTreeSet<&str> = COMMANDS
            .iter()
            .filter_map(|(usage, _)| usage.split(' ').next())
            .filter(|name| name.starts_with(text))
            .collect();
        return Some((text, matching.into_iter().map(str::to_owned).collect()));
    };
    let argument = argument.trim_start();
    let pick = |all: &[&str]| -> Vec<String> {
        let matching = all.iter().filter(|name| name.starts_with(argument));
        matching.map(|name| (*name).to_owned()).collect()
    };
    let candidates = match name {
        "\\d" => pick(&names.tables.keys().map(String::as_str).collect::<Vec<_>>()),
        "\\h" => pick(
            &names
                .functions
                .iter()
                .map(String::as_str)
                .collect::<Vec<_>>(),
        ),
        "\\o" => pick(&["csv", "json", "ndjson", "table", "tsv"]),
        "\\x" | "\\timing" => pick(&["off", "on"]),
        "\\i" => {
            let (start, files) = files(argument);
            return Some((&argument[start..], files));
        }
        _ => return None,
    };
    Some((argument, candidates))
}

/// The byte offset at which the text inside an open single quote begins.
fn open_quote(text: &str) -> Option<usize> {
    let mut open = None;
    for (position, letter) in text.char_indices() {
        if letter == '\'' {
            open = match open {
                None => Some(position + 1),
                Some(_) => None,
            };
        }
    }
    open
}

/// The byte offset of the file name in `typed`, and the files whose paths begin with `typed`; folders end in `/`.
fn files(typed: &str) -> (usize, Vec<String>) {
    let start = typed.rfind('/').map_or(0, |slash| slash + 1);
    let (folder, part) = typed.split_at(start);
    let folder = if folder.is_empty() { "." } else { folder };
    let Ok(entries) = fs::read_dir(Path::new(folder)) else {
        return (start, Vec::new());
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let is_hidden = name.starts_with('.') && !part.starts_with('.');
            if is_hidden || !name.starts_with(part) {
                return None;
            }
            let end = if entry.path().is_dir() { "/" } else { "" };
            Some(name + end)
        })
        .collect();
    names.sort_unstable();
    (start, names)
}

/// The last word of a text.
fn last_word(text: &str) -> &str {
    text.rsplit(|letter: char| letter.is_whitespace() || matches!(letter, '(' | ',' | '"'))
        .next()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Names, complete};

    fn names() -> Names {
        let mut names = Names::default();
        let columns = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        names
            .tables
            .insert("prompts".into(), columns("prompt_id title"));
        names
            .tables
            .insert("responses".into(), columns("response_id prompt_id score"));
        names.functions.insert("round".into());
        names
    }

    fn candidates(text: &str) -> Vec<String> {
        complete(&names(), text).1
    }

    #[test]
    fn keywords_follow_the_case_of_what_is_typed() {
        assert_eq!(complete(&names(), "SELEC"), (0, vec!["SELECT".to_owned()]));
        assert_eq!(
            complete(&names(), "select * fr"),
            (9, vec!["from".to_owned()])
        );
        assert_eq!(candidates("SELECT 1 WHE"), ["WHEN", "WHERE"]);
    }

    #[test]
    fn tables_columns_and_functions() {
        assert_eq!(candidates("SELECT sc"), ["score"]);
        assert_eq!(candidates("SELECT ro"), ["round"]);
        assert_eq!(candidates("SELECT * FROM "), ["prompts", "responses"]);
        assert_eq!(candidates("SELECT * FROM res"), ["responses"]);
        assert_eq!(candidates("SELECT prompts.t"), ["title"]);
        assert_eq!(candidates("SELECT r.sc"), ["score"]);
        assert_eq!(candidates("SELECT prompt_i"), ["prompt_id"]);
        assert_eq!(candidates("SELECT "), Vec::<String>::new());
    }

    #[test]
    fn meta_commands_and_their_arguments() {
        assert_eq!(candidates("\\ti"), ["\\timing"]);
        assert_eq!(
            complete(&names(), "\\d pro"),
            (3, vec!["prompts".to_owned()])
        );
        assert_eq!(candidates("\\o j"), ["json"]);
    }

    #[test]
    fn files_inside_quotes() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("stories.csv"), "").unwrap();
        std::fs::write(folder.path().join(".hidden"), "").unwrap();
        std::fs::create_dir(folder.path().join("store")).unwrap();
        let begin = format!("SELECT * FROM '{}/", folder.path().display());
        assert_eq!(
            complete(&names(), &begin),
            (
                begin.len(),
                vec!["store/".to_owned(), "stories.csv".to_owned()]
            )
        );
        assert_eq!(candidates(&format!("{begin}stori")), ["stories.csv"]);
        // After a closed quote there is no file to complete.
        assert_eq!(
            candidates(&format!("{begin}stories.csv' WHE")),
            ["WHEN", "WHERE"]
        );
    }
}
