//! Speed of deviation and weights, compared with a copy of the same bytes: `cargo bench --bench deviation`.
//!
//! Size of the paper's corpus: 421,330 responses, embeddings of 1,024 (semantic) and 768 (style) values, 4.4
//! responses a prompt with a long tail to 500. `ROWS=421330` sets the number of responses.

#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot be set up has failed"
)]

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Schema};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use polyphony_engine::datafusion::datasource::MemTable;
use polyphony_engine::datafusion::prelude::SessionContext;
use polyphony_engine::sql::{Options, SqlPipeline};
use polyphony_engine::{deviation, schema, session, weight};
use polyphony_io::hash::mix64;
use polyphony_io::random::SplitMix64;

const SPACES: [(&str, usize); 2] = [("semantic", 1024), ("style", 768)];

/// An embedding space with its vectors, concatenated.
struct Space {
    name: &'static str,
    dimension: usize,
    values: Vec<f32>,
}

/// The number of responses of each prompt, by a power law with mean 4.4, at most 500.
fn prompts(rows: usize) -> Vec<usize> {
    let mut left = rows;
    let mut sizes = Vec::new();
    let mut random = SplitMix64(7);
    while left > 0 {
        let unit = 1.0 - random.next_f64();
        let size = (unit.powf(-1.0 / 1.17).min(500.0) as usize).min(left);
        sizes.push(size);
        left -= size;
    }
    sizes
}

/// Both embedding spaces, filled with pseudorandom values from -1 to 1.
fn spaces(rows: usize) -> Vec<Space> {
    SPACES
        .into_iter()
        .map(|(name, dimension)| Space {
            name,
            dimension,
            values: (0..rows * dimension)
                .map(|i| (mix64(i as u64) >> 40) as f32 / 8_388_608.0 - 1.0)
                .collect(),
        })
        .collect()
}

/// Copies the vectors: the baseline of one pass over the bytes.
fn copy(spaces: &[Space], target: &mut [f32]) {
    let mut from = 0;
    for space in spaces {
        target[from..from + space.values.len()].copy_from_slice(&space.values);
        from += space.values.len();
    }
}

/// Deviations and weights of every prompt, on all cores.
fn weigh(spaces: &[Space], sizes: &[usize]) -> f64 {
    use rayon::prelude::*;
    let starts: Vec<usize> = sizes
        .iter()
        .scan(0, |sum, size| {
            *sum += size;
            Some(*sum - size)
        })
        .collect();
    starts
        .par_iter()
        .zip(sizes)
        .map(|(start, size)| {
            let deviations: Vec<Vec<f64>> = spaces
                .iter()
                .map(|space| {
                    let rows = start * space.dimension..(start + size) * space.dimension;
                    deviation::deviations(&space.values[rows], space.dimension)
                })
                .collect();
            let slices: Vec<&[f64]> = deviations.iter().map(Vec::as_slice).collect();
            weight::weights(&slices).iter().sum::<f64>()
        })
        .sum()
}

/// A session for the same computation in SQL, on in-memory tables sorted by prompt.
fn context(spaces: Vec<Space>, sizes: &[usize]) -> SessionContext {
    let context = session::bare(&session::MemoryLimit::unbounded()).unwrap();
    let mut ids = Vec::new();
    for (prompt, size) in sizes.iter().enumerate() {
        ids.extend(std::iter::repeat_n(format!("{prompt:06}"), *size));
    }
    let responses: Vec<String> = (0..ids.len()).map(|row| format!("{row:07}")).collect();
    for space in spaces {
        let DataType::FixedSizeList(item, length) = schema::vector(space.dimension as i32) else {
            continue;
        };
        let vectors: ArrayRef = Arc::new(
            FixedSizeListArray::try_new(
                item,
                length,
                Arc::new(Float32Array::from(space.values)),
                None,
            )
            .unwrap(),
        );
        let prompts: ArrayRef = Arc::new(StringArray::from(ids.clone()));
        let responses: ArrayRef = Arc::new(StringArray::from(responses.clone()));
        let columns = [
            ("prompt_id", prompts),
            ("response_id", responses),
            ("vector", vectors),
        ];
        let all = RecordBatch::try_from_iter(columns).unwrap();
        let batches: Vec<RecordBatch> = (0..all.num_rows())
            .step_by(8192)
            .map(|from| all.slice(from, 8192.min(all.num_rows() - from)))
            .collect();
        let schema: Arc<Schema> = all.schema();
        let table = MemTable::try_new(schema, vec![batches]).unwrap();
        let sorted =
            vec![polyphony_engine::datafusion::prelude::col("prompt_id").sort(true, false)];
        context
            .register_table(space.name, Arc::new(table.with_sort_order(vec![sorted])))
            .unwrap();
    }
    context
}

fn bench(criterion: &mut Criterion) {
    let rows = std::env::var("ROWS")
        .ok()
        .and_then(|rows| rows.parse().ok())
        .unwrap_or(421_330);
    let sizes = prompts(rows);
    let spaces = spaces(rows);
    let values: usize = spaces.iter().map(|space| space.values.len()).sum();
    let mut group = criterion.benchmark_group("deviation");
    group
        .sample_size(10)
        .throughput(Throughput::Bytes(4 * values as u64));
    let mut target = vec![1.0_f32; values];
    group.bench_function("one pass (copy)", |bencher| {
        bencher.iter(|| copy(black_box(&spaces), black_box(&mut target)));
    });
    drop(target);
    group.bench_function("kernel", |bencher| {
        bencher.iter(|| weigh(black_box(&spaces), &sizes));
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let context = context(spaces, &sizes);
    let partitions = |count: usize| {
        let setting = format!("SET datafusion.execution.target_partitions = {count}");
        runtime.block_on(context.sql(&setting)).unwrap();
    };
    // One partition: the tables are sorted, and the operator itself uses all cores.
    partitions(1);
    let deviations = |name: &str| {
        format!(
            "SELECT '{name}' AS space, prompt_id, response_id, \
             deviation(vector) OVER (PARTITION BY prompt_id) AS deviation FROM {name}"
        )
    };
    let run = |query: &str| -> Vec<RecordBatch> {
        runtime.block_on(async { context.sql(query).await.unwrap().collect().await.unwrap() })
    };
    for (name, _) in SPACES {
        group.bench_function(format!("SQL, {name}"), |bencher| {
            bencher.iter(|| run(&deviations(name)));
        });
    }
    group.bench_function("SQL, both and the weights", |bencher| {
        bencher.iter(|| {
            let measured: Vec<Vec<RecordBatch>> = SPACES
                .iter()
                .map(|(name, _)| run(&deviations(name)))
                .collect();
            let table = MemTable::try_new(measured[0][0].schema(), measured).unwrap();
            drop(context.deregister_table(schema::DEVIATIONS));
            context
                .register_table(schema::DEVIATIONS, Arc::new(table))
                .unwrap();
            // As many partitions as cores, as in `polyphony pairs`.
            partitions(std::thread::available_parallelism().unwrap().get());
            let pipeline = SqlPipeline::built_in();
            let options = Options::new();
            let weights = pipeline.query(&context, "50_weights.sql", &options);
            let weights = runtime.block_on(weights).unwrap();
            partitions(1);
            weights
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
