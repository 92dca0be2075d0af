//! SQL pipeline: SQL files with a header, built in or overridden by a folder, run as one step each.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef};
use datafusion::common::{ParamValues, plan_datafusion_err};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::prelude::SessionContext;
use datafusion::scalar::ScalarValue;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use futures::TryStreamExt;
use tracing::{debug, instrument};

use crate::expression::Expression;
use crate::store::{Part, Store};
use crate::{Error, Result};
use polyphony_io::format::list_files;
use polyphony_io::hash::sha256_file;
use polyphony_io::progress::Progress;

/// The values of a file's `$name` placeholders.
pub type Options = BTreeMap<String, ScalarValue>;

/// The built-in files, in execution order.
pub const BUILT_IN: [(&str, &str); 31] = [
    (
        "00_quarantine.sql",
        include_str!("../../sql/00_quarantine.sql"),
    ),
    (
        "05_reconciliation.sql",
        include_str!("../../sql/05_reconciliation.sql"),
    ),
    (
        "06_prompt_posts.sql",
        include_str!("../../sql/06_prompt_posts.sql"),
    ),
    (
        "10_candidates.sql",
        include_str!("../../sql/10_candidates.sql"),
    ),
    (
        "15_candidates_dpp.sql",
        include_str!("../../sql/15_candidates_dpp.sql"),
    ),
    (
        "20_divpo_deviations.sql",
        include_str!("../../sql/20_divpo_deviations.sql"),
    ),
    (
        "20_divpo_pools.sql",
        include_str!("../../sql/20_divpo_pools.sql"),
    ),
    (
        "20_marginal_diversities.sql",
        include_str!("../../sql/20_marginal_diversities.sql"),
    ),
    (
        "20_pairs_all.sql",
        include_str!("../../sql/20_pairs_all.sql"),
    ),
    (
        "20_pairs_divpo.sql",
        include_str!("../../sql/20_pairs_divpo.sql"),
    ),
    (
        "20_pairs_gap.sql",
        include_str!("../../sql/20_pairs_gap.sql"),
    ),
    (
        "20_pairs_marginal.sql",
        include_str!("../../sql/20_pairs_marginal.sql"),
    ),
    (
        "20_pairs_ratio.sql",
        include_str!("../../sql/20_pairs_ratio.sql"),
    ),
    (
        "30_scored_responses_all.sql",
        include_str!("../../sql/30_scored_responses_all.sql"),
    ),
    (
        "30_scored_responses_eligible.sql",
        include_str!("../../sql/30_scored_responses_eligible.sql"),
    ),
    (
        "30_scored_responses_in_gap_pairs.sql",
        include_str!("../../sql/30_scored_responses_in_gap_pairs.sql"),
    ),
    (
        "30_scored_responses_in_pairs.sql",
        include_str!("../../sql/30_scored_responses_in_pairs.sql"),
    ),
    (
        "30_scored_responses_of_store.sql",
        include_str!("../../sql/30_scored_responses_of_store.sql"),
    ),
    ("35_texts.sql", include_str!("../../sql/35_texts.sql")),
    (
        "40_deviation.sql",
        include_str!("../../sql/40_deviation.sql"),
    ),
    ("50_weights.sql", include_str!("../../sql/50_weights.sql")),
    (
        "50_weights_expression.sql",
        include_str!("../../sql/50_weights_expression.sql"),
    ),
    (
        "55_winner_mean.sql",
        include_str!("../../sql/55_winner_mean.sql"),
    ),
    ("60_pairs.sql", include_str!("../../sql/60_pairs.sql")),
    (
        "60_weighted_rows.sql",
        include_str!("../../sql/60_weighted_rows.sql"),
    ),
    ("65_sft.sql", include_str!("../../sql/65_sft.sql")),
    ("70_card.sql", include_str!("../../sql/70_card.sql")),
    (
        "71_card_divpo.sql",
        include_str!("../../sql/71_card_divpo.sql"),
    ),
    (
        "71_card_long_texts.sql",
        include_str!("../../sql/71_card_long_texts.sql"),
    ),
    (
        "71_card_marginal.sql",
        include_str!("../../sql/71_card_marginal.sql"),
    ),
    ("71_card_sft.sql", include_str!("../../sql/71_card_sft.sql")),
];

/// The source of the pipeline's SQL files.
#[derive(Debug, Clone, Default)]
pub struct SqlPipeline {
    folder: Option<PathBuf>,
}

/// A parsed SQL file: its header and its statements.
#[derive(Debug)]
pub struct SqlStep {
    /// The file name, or the path of a file that is not built in.
    pub name: String,
    /// The input tables, from the header.
    pub reads: Vec<String>,
    /// The output table, from the header.
    pub writes: String,
    /// The entire text of the file.
    pub text: String,
    statements: Vec<Statement>,
    /// The expressions that are in the statements, for errors.
    expressions: Vec<Expression>,
}

impl SqlPipeline {
    /// The built-in files.
    pub fn built_in() -> Self {
        Self::default()
    }

    /// The files in `folder`, which override the built-in files of the same name.
    ///
    /// # Errors
    /// When the folder contains no file of the pipeline, or a `.sql` file that overrides none.
    pub fn overridden_by(folder: PathBuf) -> Result<Self> {
        let known = || BUILT_IN.map(|(name, _)| name).join(", ");
        if !BUILT_IN.iter().any(|(name, _)| folder.join(name).is_file()) {
            return Err(Error::input(
                &folder,
                "holds no SQL file of the pipeline",
                format!("name a folder with one of {}", known()),
            ));
        }
        for path in list_files(&folder, &|_| false)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_sql = path.extension().is_some_and(|end| end == "sql");
            if is_sql && !BUILT_IN.iter().any(|(built_in, _)| *built_in == name) {
                let hint = format!("the files of the pipeline are {}", known());
                return Err(Error::input(&path, "replaces no built-in file", hint));
            }
        }
        Ok(Self {
            folder: Some(folder),
        })
    }

    /// Whether a file of this name overrides the built-in one by another text.
    pub fn overrides(&self, name: &str) -> bool {
        let own = self.folder.as_ref().map(|folder| folder.join(name));
        let own = own.and_then(|path| fs::read(path).ok());
        let built_in = BUILT_IN.iter().find(|(built_in, _)| *built_in == name);
        own.is_some_and(|own| built_in.is_none_or(|(_, text)| own != text.as_bytes()))
    }

    /// The files that override built-in ones: path and SHA-256, in execution order.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn own_files(&self) -> Result<Vec<(String, String)>> {
        let Some(folder) = &self.folder else {
            return Ok(Vec::new());
        };
        let names = BUILT_IN.iter().filter(|(name, _)| self.overrides(name));
        names
            .map(|(name, _)| {
                let path = folder.join(name);
                Ok((path.display().to_string(), sha256_file(&path)?))
            })
            .collect()
    }

    /// Reads and parses a file of the pipeline.
    ///
    /// # Errors
    /// When the file has no header, or its SQL cannot be parsed.
    pub fn script(&self, name: &str) -> Result<SqlStep> {
        let path = self.folder.as_ref().map(|folder| folder.join(name));
        if let Some(path) = path.filter(|path| path.is_file()) {
            let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
            let text = text.trim_start_matches('\u{feff}');
            let script = SqlStep::parse(&path.display().to_string(), text)?;
            let ours = Self::built_in().script(name)?.writes;
            if script.writes != ours {
                return Err(Error::input(
                    &path,
                    format!("writes `{}`", script.writes),
                    format!("it takes the place of a file that writes `{ours}`"),
                ));
            }
            return Ok(script);
        }
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
        let (_, text) = built_in.ok_or_else(|| Error::Unknown {
            what: "SQL file",
            given: name.to_owned(),
            known: BUILT_IN.map(|(name, _)| name).join(", "),
        })?;
        SqlStep::parse(&format!("sql/{name}"), text)
    }

    /// Runs a file and collects the result of its last statement in memory: for small results only.
    ///
    /// # Errors
    /// When a statement fails; the error names the file and the statement.
    pub async fn query(
        &self,
        context: &SessionContext,
        name: &str,
        options: &Options,
    ) -> Result<Vec<RecordBatch>> {
        self.script(name)?.collect(context, options).await
    }
}

impl SqlStep {
    /// Parses the header and the statements of a file.
    ///
    /// # Errors
    /// When it has no header, or its SQL cannot be parsed.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let header = |key: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("-- ")?.strip_prefix(key))?;
            Some(line.trim().to_owned())
        };
        let (Some(reads), Some(writes)) = (header("reads:"), header("writes:")) else {
            return Err(Error::input(
                name,
                "does not say what it reads and writes",
                "begin it with `-- reads: TABLE, ...` and `-- writes: TABLE`",
            ));
        };
        let statements = parse(text).map_err(|error| Error::Sql {
            file: name.to_owned(),
            statement: 1,
            cause: Box::new(error),
        })?;
        Ok(Self {
            name: name.to_owned(),
            reads: reads
                .split(',')
                .map(|table| table.trim().to_owned())
                .collect(),
            writes,
            text: text.to_owned(),
            statements,
            expressions: Vec::new(),
        })
    }

    /// Puts an expression in the place of a placeholder (`$weight`) in all statements.
    #[must_use]
    pub fn with_expression(mut self, placeholder: &str, expression: &Expression) -> Self {
        for statement in &mut self.statements {
            expression.replace(placeholder, statement);
        }
        self.expressions.push(expression.clone());
        self
    }

    /// Executes all statements except the last, and plans the last.
    ///
    /// # Errors
    /// When a statement fails; the error names the file and the statement.
    pub async fn frame(&self, context: &SessionContext, options: &Options) -> Result<DataFrame> {
        let mut last = None;
        for (number, statement) in (1..).zip(&self.statements) {
            let failed = |error| self.failed(number, error);
            let plan = context
                .state()
                .statement_to_plan(statement.clone())
                .await
                .map_err(failed)?;
            let values: Vec<(&str, ScalarValue)> = options
                .iter()
                .map(|(name, value)| (name.as_str(), value.clone()))
                .collect();
            let plan = plan
                .with_param_values(ParamValues::from(values))
                .map_err(failed)?;
            let frame = context.execute_logical_plan(plan).await.map_err(failed)?;
            if number < self.statements.len() {
                frame.collect().await.map_err(failed)?;
            } else {
                last = Some(frame);
            }
        }
        last.ok_or_else(|| Error::input(&self.name, "holds no statement", "end it with a SELECT"))
    }

    /// Runs the file and collects the result of its last statement in memory: for small results only.
    ///
    /// # Errors
    /// When a statement fails; the error names the file and the statement.
    #[instrument(skip_all, fields(file = self.name))]
    pub async fn collect(
        &self,
        context: &SessionContext,
        options: &Options,
    ) -> Result<Vec<RecordBatch>> {
        let frame = self.frame(context, options).await?;
        let last = self.statements.len();
        frame
            .collect()
            .await
            .map_err(|error| self.failed(last, error))
    }

    /// A progress message with the inputs and their numbers of rows: `sql/X.sql: reads a (3), b (4)`.
    pub fn describe(&self, rows: impl Fn(&str) -> u64) -> String {
        let reads: Vec<String> = self
            .reads
            .iter()
            .map(|table| format!("{table} ({})", rows(table)))
            .collect();
        format!("{}: reads {}", self.name, reads.join(", "))
    }

    /// Runs the file and writes the result of its last statement to a part of its output table.
    ///
    /// # Errors
    /// When a statement fails or the disk is full; no partial output remains.
    #[instrument(skip_all, fields(file = self.name))]
    pub async fn write(
        &self,
        context: &SessionContext,
        options: &Options,
        store: &Store,
        part: &str,
        schema: Option<SchemaRef>,
        progress: &dyn Progress,
    ) -> Result<Part> {
        let last = self.statements.len();
        let frame = self.frame(context, options).await?;
        let schema = if let Some(schema) = schema {
            schema
        } else {
            let planned = RecordBatch::new_empty(frame.schema().inner().clone());
            crate::store::part::plain(&planned)?.schema()
        };
        let actual = frame.schema().inner();
        let names = |fields: &arrow::datatypes::Fields| {
            let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            names.join(", ")
        };
        if names(actual.fields()) != names(schema.fields()) {
            return Err(Error::input(
                &self.name,
                format!("gives the columns {}", names(actual.fields())),
                format!("`{}` has {}", self.writes, names(schema.fields())),
            ));
        }
        let mut writer = store.part(&self.writes, part, schema)?;
        let mut stream = frame
            .execute_stream()
            .await
            .map_err(|error| self.failed(last, error))?;
        let mut rows = 0;
        while let Some(batch) = stream
            .try_next()
            .await
            .map_err(|error| self.failed(last, error))?
        {
            rows += batch.num_rows() as u64;
            writer.write(&batch)?;
            progress.set_position(rows);
        }
        debug!(table = self.writes, rows, "written");
        writer.finish()
    }

    fn failed(&self, statement: usize, cause: DataFusionError) -> Error {
        let mut file = self.name.clone();
        if let DataFusionError::SchemaError(..) = cause.find_root()
            && let [expression] = self.expressions.as_slice()
        {
            return expression.refused(&cause);
        }
        for expression in &self.expressions {
            file = format!("{} in {file}", expression.option());
        }
        Error::Sql {
            file,
            statement,
            cause: Box::new(cause),
        }
    }
}

/// Parses a SQL text into its statements, in DataFusion's dialect.
///
/// # Errors
/// When the text is not valid SQL.
pub fn parse(text: &str) -> datafusion::error::Result<Vec<Statement>> {
    let statements = DFParserBuilder::new(text).build()?.parse_statements()?;
    Ok(statements.into())
}

/// Splits a SQL text at the semicolons between statements.
///
/// # Errors
/// When the text cannot be tokenized as SQL.
pub fn split(text: &str) -> datafusion::error::Result<Vec<String>> {
    // The tokenizer must not unescape quotes, because the parts are executed as text again.
    let tokens = Tokenizer::new(&GenericDialect {}, text)
        .with_unescape(false)
        .tokenize()
        .map_err(|error| plan_datafusion_err!("{error}"))?;
    let is_end = |token: &Token| *token == Token::SemiColon;
    let statements = tokens.split(is_end).filter(|statement| {
        statement
            .iter()
            .any(|token| !matches!(token, Token::Whitespace(_)))
    });
    Ok(statements
        .map(|statement| statement.iter().map(ToString::to_string).collect())
        .collect())
}

/// Runs a query for summaries that returns names and counts.
///
/// # Errors
/// When the query fails.
pub async fn counts(context: &SessionContext, query: &str) -> Result<Vec<(String, i64)>> {
    let mut counts = Vec::new();
    for batch in context.sql(query).await?.collect().await? {
        let batch = crate::store::part::plain(&batch)?;
        let names = batch.column(0).as_string::<i32>();
        let numbers = batch.column(1).as_primitive::<Int64Type>();
        let rows = names.iter().zip(numbers);
        counts.extend(rows.filter_map(|(name, number)| Some((name?.to_owned(), number?))));
    }
    Ok(counts)
}

/// Runs a query that returns one row of numbers. NULL is 0.
///
/// # Errors
/// When the query fails.
pub async fn numbers(context: &SessionContext, query: &str) -> Result<Vec<f64>> {
    let batches = context.sql(query).await?.collect().await?;
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else {
        return Ok(Vec::new());
    };
    let columns = batch.columns().iter();
    let numbers = columns.map(|column| {
        let column = cast(column, &DataType::Float64)?;
        Ok(column.as_primitive::<Float64Type>().iter().next().flatten())
    });
    let numbers: Result<Vec<Option<f64>>> = numbers.collect();
    Ok(numbers?
        .into_iter()
        .map(Option::unwrap_or_default)
        .collect())
}
