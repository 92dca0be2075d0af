//! Golden tests: deviations and weights equal the reference's values, in Rust and in SQL.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, FixedSizeListArray, Float32Array, Float64Array, Int64Array, RecordBatch,
    StringArray,
};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::prelude::SessionContext;
use proptest::prelude::*;
use serde_json::Value;

use crate::{deviation, schema, session, sql, weight};
use polyphony_io::hash::mix64;

const GOLDEN: &str = include_str!("../../tests/fixtures/deviation_weights.json");

fn cases() -> Vec<Value> {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    golden["deviation_weights"].as_array().unwrap().clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_f64().unwrap())
        .collect()
}

/// The fixture's vectors: `SplitMix64`, values in [-1, 1). The shared component is always generated
/// first, and added to every vector in cases with `shared_component`.
fn vectors(case: &Value, seed: &str, space: &str) -> (Vec<f32>, usize) {
    let mut state = case[seed].as_u64().unwrap();
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        (mix64(state) >> 40) as f32 / 8_388_608.0 - 1.0
    };
    let dimension = case["dims"][space].as_u64().unwrap() as usize;
    let n = case["n"].as_u64().unwrap() as usize;
    let shared = case["shared_component"].as_bool().unwrap();
    let common: Vec<f32> = (0..dimension).map(|_| next()).collect();
    let added = |i: usize| if shared { common[i % dimension] } else { 0.0 };
    let rows = (0..n * dimension).map(|i| next() + added(i)).collect();
    (rows, dimension)
}

fn near(actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    for (actual, expected) in actual.iter().zip(expected) {
        assert!(
            (actual - expected).abs() <= tolerance,
            "{actual} is not {expected}"
        );
    }
}

#[test]
fn deviations_of_f32_vectors_equal_the_reference_values() {
    for case in cases() {
        for (seed, space) in [("seed", "semantic"), ("style_seed", "style")] {
            let (rows, dimension) = vectors(&case, seed, space);
            let first = numbers(&case["first_values"][format!("{space}_row0")]);
            let start: Vec<f64> = rows[..4].iter().map(|x| f64::from(*x)).collect();
            assert_eq!(start, first, "the vectors are not the fixture's");
            let expected = numbers(&case[format!("raw_deviation_{space}")]);
            near(&deviation::deviations(&rows, dimension), &expected, 1e-6);
        }
    }
}

#[test]
fn weights_equal_the_reference_values() {
    for case in cases() {
        let semantic = numbers(&case["raw_deviation_semantic"]);
        let style = numbers(&case["raw_deviation_style"]);
        let expected = |name: &str| numbers(&case["weights"][name]);
        near(&weight::weights(&[&semantic]), &expected("semantic"), 1e-9);
        near(&weight::weights(&[&style]), &expected("style"), 1e-9);
        near(
            &weight::weights(&[&semantic, &style]),
            &expected("both"),
            1e-9,
        );
    }
}

#[tokio::test]
async fn the_window_function_weight_equals_the_reference_values() {
    for case in cases() {
        let column = |name: &str| -> ArrayRef {
            Arc::new(Float64Array::from(numbers(
                &case[format!("raw_deviation_{name}")],
            )))
        };
        let n = case["n"].as_u64().unwrap() as i64;
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..n));
        let table = RecordBatch::try_from_iter([
            ("id", ids),
            ("semantic", column("semantic")),
            ("style", column("style")),
        ]);
        let context = session::bare(&session::MemoryLimit::pipeline()).unwrap();
        context.register_batch("t", table.unwrap()).unwrap();
        for (name, arguments) in [
            ("semantic", "semantic"),
            ("style", "style"),
            ("both", "semantic, style"),
        ] {
            let query =
                format!("SELECT weight({arguments}) OVER (ORDER BY id) AS w FROM t ORDER BY id");
            let batches = context.sql(&query).await.unwrap().collect().await.unwrap();
            let weights = batches.iter().flat_map(|batch| {
                let column = batch.column(0).as_primitive::<Float64Type>();
                column.values().to_vec()
            });
            let expected = numbers(&case["weights"][name]);
            near(&weights.collect::<Vec<f64>>(), &expected, 1e-9);
        }
    }
}

#[tokio::test]
async fn sql_weights_of_f32_vectors_equal_the_reference_values() {
    for case in cases() {
        let context = session::bare(&session::MemoryLimit::pipeline()).unwrap();
        for (seed, space) in [("seed", "semantic"), ("style_seed", "style")] {
            let (rows, dimension) = vectors(&case, seed, space);
            let vectors = table_of_vectors(rows, dimension);
            context.register_batch(space, vectors).unwrap();
        }
        let union = "CREATE VIEW deviations AS \
             SELECT 'semantic' AS space, 'p' AS prompt_id, response_id, \
                 deviation(vector) OVER (PARTITION BY 'p') AS deviation FROM semantic \
             UNION ALL SELECT 'style', 'p', response_id, \
                 deviation(vector) OVER (PARTITION BY 'p') FROM style";
        context.sql(union).await.unwrap();
        near(
            &weights_by_sql(&context).await,
            &numbers(&case["weights"]["both"]),
            1e-4,
        );
    }
}

fn table_of_vectors(rows: Vec<f32>, dimension: usize) -> RecordBatch {
    let n = rows.len() / dimension;
    let DataType::FixedSizeList(item, length) = schema::vector(dimension as i32) else {
        unreachable!()
    };
    let values: ArrayRef = Arc::new(Float32Array::from(rows));
    let vectors: ArrayRef =
        Arc::new(FixedSizeListArray::try_new(item, length, values, None).unwrap());
    let ids: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..n).map(|i| format!("{i:06}")),
    ));
    RecordBatch::try_from_iter([("response_id", ids), ("vector", vectors)]).unwrap()
}

/// The weights that `50_weights.sql` computes from the table `deviations`, ordered by id.
async fn weights_by_sql(context: &SessionContext) -> Vec<f64> {
    let pipeline = sql::SqlPipeline::built_in();
    let batches = pipeline
        .query(context, "50_weights.sql", &sql::Options::new())
        .await
        .unwrap();
    let weights = batches.iter().flat_map(|batch| {
        batch
            .column_by_name("weight")
            .unwrap()
            .as_primitive::<Float64Type>()
            .values()
            .to_vec()
    });
    weights.collect()
}

/// The table `deviations` that `50_weights.sql` reads, for several prompts.
fn deviations_table(prompts: &[Vec<(f64, f64)>]) -> RecordBatch {
    let mut columns: (Vec<&str>, Vec<String>, Vec<String>, Vec<f64>) = Default::default();
    for (space, pick) in [("semantic", true), ("style", false)] {
        for (prompt, responses) in prompts.iter().enumerate() {
            for (response, (semantic, style)) in responses.iter().enumerate() {
                columns.0.push(space);
                columns.1.push(format!("p{prompt:03}"));
                columns.2.push(format!("p{prompt:03}r{response:03}"));
                columns.3.push(if pick { *semantic } else { *style });
            }
        }
    }
    let text = |values: Vec<String>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let spaces: ArrayRef = Arc::new(StringArray::from(columns.0));
    let values: ArrayRef = Arc::new(Float64Array::from(columns.3));
    RecordBatch::try_from_iter([
        ("space", spaces),
        ("prompt_id", text(columns.1)),
        ("response_id", text(columns.2)),
        ("deviation", values),
    ])
    .unwrap()
}

fn small_vectors(n: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Vec<f32>>> {
    prop::collection::vec(prop::collection::vec(-1.0_f32..1.0, 7), n)
}

fn of(rows: &[Vec<f32>]) -> Vec<f64> {
    deviation::deviations_of(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_prompts_order_changes_no_bit(rows in small_vectors(1..20), at in 0_usize..20) {
        let mut turned = rows.clone();
        let by = at % rows.len();
        turned.rotate_left(by);
        let mut expected = of(&rows);
        expected.rotate_left(by);
        prop_assert_eq!(of(&turned), expected);
    }

    #[test]
    fn the_fast_form_is_the_definition(rows in small_vectors(65..100)) {
        let unit = |row: &[f32]| -> Vec<f64> {
            let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            row.iter().map(|x| f64::from(*x) / length).collect()
        };
        let units: Vec<Vec<f64>> = rows.iter().map(|row| unit(row)).collect();
        let distance = |a: &[f64], b: &[f64]| 1.0 - a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        let others = (rows.len() - 1) as f64;
        for (i, found) in of(&rows).into_iter().enumerate() {
            let total: f64 =
                (0..rows.len()).filter(|j| *j != i).map(|j| distance(&units[i], &units[j])).sum();
            prop_assert!((found - total / others).abs() < 1e-6);
        }
    }

    #[test]
    fn two_responses_weigh_one(rows in small_vectors(2..3)) {
        let deviations = of(&rows);
        prop_assert_eq!(weight::weights(&[&deviations, &deviations]), vec![1.0, 1.0]);
    }

    #[test]
    fn duplicates_weigh_the_same(rows in small_vectors(1..70), at in 0_usize..70) {
        let mut rows = rows;
        let twice = rows[at % rows.len()].clone();
        rows.push(twice);
        let weights = weight::weights(&[&of(&rows)]);
        prop_assert_eq!(weights[at % (rows.len() - 1)], weights[rows.len() - 1]);
    }

    #[test]
    fn weights_have_mean_one_and_sql_agrees(
        prompts in prop::collection::vec(
            prop::collection::vec((0.0_f64..2.0, prop::sample::select(vec![0.1, 0.4, 0.9])), 1..9),
            1..5,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let weights = runtime.block_on(async {
            let context = session::bare(&session::MemoryLimit::pipeline()).unwrap();
            context.register_batch("deviations", deviations_table(&prompts)).unwrap();
            weights_by_sql(&context).await
        });
        let mut weights = weights.as_slice();
        for responses in &prompts {
            let semantic: Vec<f64> = responses.iter().map(|(semantic, _)| *semantic).collect();
            let style: Vec<f64> = responses.iter().map(|(_, style)| *style).collect();
            let expected = weight::weights(&[&semantic, &style]);
            let mean = expected.iter().sum::<f64>() / expected.len() as f64;
            prop_assert!((mean - 1.0).abs() < 1e-9);
            let (of_prompt, rest) = weights.split_at(responses.len());
            near(of_prompt, &expected, 1e-9);
            weights = rest;
        }
    }
}
