//! Weight check: own SQL for weights must give every scored response one weight, finite and at least 0.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::expression::Expression;
use crate::store::{Part, Store};
use crate::{Error, Result, schema, session, sql};

/// The table of the weights to check.
const GIVEN: &str = "given_weights";

/// What is wrong with the rows, by kind, with an example and their number.
const ROWS: &str = "\
WITH given AS ( \
    SELECT prompt_id, response_id, count(*) AS n FROM given_weights GROUP BY prompt_id, response_id \
), \
matched AS ( \
    SELECT \
        coalesce(scored.response_id, given.response_id) AS id, \
        CASE \
            WHEN given.n IS NULL THEN 'no row' \
            WHEN scored.response_id IS NULL THEN 'a row, though it is not scored' \
            WHEN given.n > 1 THEN 'several rows' \
        END AS problem \
    FROM scored_responses AS scored \
    FULL JOIN given \
        ON given.prompt_id = scored.prompt_id AND given.response_id = scored.response_id \
) \
SELECT 'gives response `' || min(id) || '` ' || problem AS what, count(*) AS n \
FROM matched WHERE problem IS NOT NULL GROUP BY problem ORDER BY problem";

/// The first weight that is none, and the number of such weights.
const VALUES: &str = "\
SELECT \
    'gives response `' || response_id || '` of prompt `' || prompt_id || '` the value ' \
        || coalesce(arrow_cast(weight, 'Utf8'), 'NULL') AS what, \
    count(*) OVER () AS n \
FROM given_weights \
WHERE NOT coalesce(signum(weight) >= 0 AND weight < CAST('Infinity' AS DOUBLE), FALSE) \
ORDER BY prompt_id, response_id LIMIT 1";

/// A schema with nullable columns.
pub(super) fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter();
    let fields: Vec<Field> = fields
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    Arc::new(Schema::new(fields))
}

/// Checks the weights in a part that is not committed: the result of `expression`, or of the own file `file`.
///
/// # Errors
/// When a scored response has no row or several, another response has one, or a weight is NULL, NaN, infinite
/// or negative; the error has an example.
pub(super) async fn check(
    store: &Store,
    part: &Part,
    expression: Option<&Expression>,
    file: &str,
) -> Result<()> {
    let context = session::with_store(store, &session::MemoryLimit::pipeline())?;
    let path = store.folder().join(schema::WEIGHTS).join(&part.file);
    let columns = nullable(&schema::weights());
    session::register_files(&context, GIVEN, &[path], columns)?;
    let refused = |(what, n): (String, i64), hint: &str| {
        let message = match n {
            1 => what,
            n => format!("{what} (it is one of {n})"),
        };
        match expression {
            Some(expression) => Error::config(
                expression.option(),
                format!("`{}` {message}", expression.text()),
                hint,
            ),
            None => Error::input(file, message, hint),
        }
    };
    if let Some(problem) = sql::counts(&context, ROWS).await?.into_iter().next() {
        let hint = "it must give each row of `scored_responses` exactly one row";
        return Err(refused(problem, hint));
    }
    if let Some(problem) = sql::counts(&context, VALUES).await?.into_iter().next() {
        let hint = "weights are finite and at least 0: coalesce(), greatest() and CASE help";
        return Err(refused(problem, hint));
    }
    Ok(())
}
