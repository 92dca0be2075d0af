//! Physical operator for `deviation(..) OVER (PARTITION BY ..)` that copies no vectors.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch};
use arrow::compute::partition;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::window::StandardWindowExpr;
use datafusion::physical_expr_common::sort_expr::OrderingRequirements;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowUDFExpr};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputDistributionRequirements, InputOrderMode,
    PhysicalExpr, PlanProperties,
};
use datafusion::scalar::ScalarValue;
use futures::{StreamExt, TryStreamExt};
use rayon::prelude::*;

use super::{Deviation, deviations};

/// Optimizer rule that replaces the general window operator, which copies every vector several times,
/// by `DeviationExec` where a window computes nothing but deviations.
#[derive(Debug)]
pub struct Rule;

impl PhysicalOptimizerRule for Rule {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let operator = match node.downcast_ref::<BoundedWindowAggExec>() {
                Some(window) => DeviationExec::in_place_of(window)?,
                None => None,
            };
            Ok(match operator {
                Some(operator) => Transformed::yes(Arc::new(operator) as Arc<dyn ExecutionPlan>),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "deviation"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Physical operator: deviations of input sorted by partition. Batches pass through unchanged, with an
/// extra column per function; only the batches that overlap the open partition are buffered.
#[derive(Debug)]
struct DeviationExec {
    /// The replaced window operator; it defines the input and the output schema.
    window: BoundedWindowAggExec,
    metrics: ExecutionPlanMetricsSet,
}

impl DeviationExec {
    /// The operator for a window that computes only deviations; `None` for other windows.
    fn in_place_of(window: &BoundedWindowAggExec) -> Result<Option<Self>> {
        let is_deviation = |function: &StandardWindowExpr| {
            let function = function.get_standard_func_expr().as_any();
            function
                .downcast_ref::<WindowUDFExpr>()
                .is_some_and(|function| function.fun().inner().is::<Deviation>())
        };
        let all = window.window_expr().iter().all(|function| {
            let function = function.as_any().downcast_ref::<StandardWindowExpr>();
            function.is_some_and(is_deviation)
        });
        if !all || window.input_order_mode != InputOrderMode::Sorted {
            return Ok(None);
        }
        let window = BoundedWindowAggExec::try_new(
            window.window_expr().to_vec(),
            Arc::clone(window.input()),
            window.input_order_mode.clone(),
            true,
        )?;
        Ok(Some(Self {
            window,
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }
}

impl DisplayAs for DeviationExec {
    fn fmt_as(&self, _form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let functions = self.window.window_expr();
        let names: Vec<&str> = functions.iter().map(|function| function.name()).collect();
        write!(f, "DeviationExec: [{}]", names.join(", "))
    }
}

impl ExecutionPlan for DeviationExec {
    fn name(&self) -> &'static str {
        "DeviationExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.window.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.window.children()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.window.input_distribution_requirements()
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        self.window.required_input_ordering()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.window.maintains_input_order()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.window.apply_expressions(f)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let window = BoundedWindowAggExec::try_new(
            self.window.window_expr().to_vec(),
            children.swap_remove(0),
            InputOrderMode::Sorted,
            true,
        )?;
        Ok(Arc::new(Self {
            window,
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.window.input().execute(partition, context)?;
        let functions = self.window.window_expr();
        let vectors = functions
            .iter()
            .flat_map(|function| function.expressions())
            .collect();
        let runs =
            PartitionBuffer::new(vectors, functions[0].partition_by().to_vec(), self.schema());
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        // The `None` after the last batch closes the last partition.
        let input = input.map_ok(Some).chain(futures::stream::iter([Ok(None)]));
        let finished = input.scan(runs, move |runs, batch| {
            let finished = batch.and_then(|batch| {
                let _timer = metrics.elapsed_compute().timer();
                runs.push(batch)
            });
            let finished = finished.map(|batches| {
                let rows = batches.iter().map(RecordBatch::num_rows).sum();
                metrics.record_output(rows);
                futures::stream::iter(batches.into_iter().map(Ok))
            });
            futures::future::ready(Some(finished))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            finished.try_flatten(),
        )))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}

/// The vectors of one partition: a list of array slices per function.
type Partition = Vec<Vec<ArrayRef>>;

/// Splits a stream of batches into partitions (consecutive rows with one key) and computes the
/// deviations of each complete partition.
struct PartitionBuffer {
    vectors: Vec<Arc<dyn PhysicalExpr>>,
    partition_by: Vec<Arc<dyn PhysicalExpr>>,
    schema: arrow::datatypes::SchemaRef,
    /// The key and the vectors of the open partition, which may continue in the next batch.
    open: Option<(Vec<ScalarValue>, Partition)>,
    /// Batches whose last partition is still open.
    waiting: VecDeque<RecordBatch>,
    /// The deviations of the waiting batches' first rows, a column per function.
    done: Vec<VecDeque<Option<f64>>>,
}

impl PartitionBuffer {
    fn new(
        vectors: Vec<Arc<dyn PhysicalExpr>>,
        partition_by: Vec<Arc<dyn PhysicalExpr>>,
        schema: arrow::datatypes::SchemaRef,
    ) -> Self {
        Self {
            done: vec![VecDeque::new(); vectors.len()],
            vectors,
            partition_by,
            schema,
            open: None,
            waiting: VecDeque::new(),
        }
    }

    /// Adds the next batch, or `None` at the end, and returns the batches that are now complete.
    fn push(&mut self, batch: Option<RecordBatch>) -> Result<Vec<RecordBatch>> {
        let closed = match batch {
            Some(batch) if batch.num_rows() == 0 => return Ok(Vec::new()),
            Some(batch) => {
                let closed = self.cut(&batch)?;
                self.waiting.push_back(batch);
                closed
            }
            None => self.open.take().map(|(_, run)| run).into_iter().collect(),
        };
        let measured: Vec<Vec<Float64Array>> = closed
            .par_iter()
            .map(|run| run.iter().map(|vectors| deviations(vectors)).collect())
            .collect::<Result<_>>()?;
        for run in &measured {
            for (column, values) in self.done.iter_mut().zip(run) {
                column.extend(values);
            }
        }
        self.finished()
    }

    /// The partitions that a batch completes; the last partition of the batch stays open.
    fn cut(&mut self, batch: &RecordBatch) -> Result<Vec<Partition>> {
        let evaluate = |expressions: &[Arc<dyn PhysicalExpr>]| -> Result<Vec<ArrayRef>> {
            let value = |expression: &Arc<dyn PhysicalExpr>| {
                expression.evaluate(batch)?.into_array(batch.num_rows())
            };
            expressions.iter().map(value).collect()
        };
        let keys = evaluate(&self.partition_by)?;
        let vectors = evaluate(&self.vectors)?;
        let ranges = if keys.is_empty() {
            std::iter::once(0..batch.num_rows()).collect()
        } else {
            partition(&keys)?.ranges()
        };
        let mut closed = Vec::with_capacity(ranges.len());
        for range in ranges {
            let slices = vectors
                .iter()
                .map(|column| column.slice(range.start, range.len()));
            // Only the first partition of a batch can continue the open one, and only the last can stay
            // open.
            if range.start == 0 || range.end == batch.num_rows() {
                let key = keys
                    .iter()
                    .map(|column| ScalarValue::try_from_array(column, range.start))
                    .collect::<Result<Vec<_>>>()?;
                match &mut self.open {
                    Some((open, run)) if *open == key => {
                        for (column, slice) in run.iter_mut().zip(slices) {
                            column.push(slice);
                        }
                    }
                    open => {
                        let run = slices.map(|slice| vec![slice]).collect();
                        closed.extend(open.replace((key, run)).map(|(_, run)| run));
                    }
                }
            } else {
                closed.extend(self.open.take().map(|(_, run)| run));
                closed.push(slices.map(|slice| vec![slice]).collect());
            }
        }
        Ok(closed)
    }

    /// The waiting batches for which all deviations are known, with these as columns.
    fn finished(&mut self) -> Result<Vec<RecordBatch>> {
        let mut finished = Vec::new();
        while let Some(batch) = self.waiting.front()
            && self
                .done
                .iter()
                .all(|column| column.len() >= batch.num_rows())
        {
            let rows = batch.num_rows();
            let mut columns = batch.columns().to_vec();
            for column in &mut self.done {
                columns.push(Arc::new(column.drain(..rows).collect::<Float64Array>()));
            }
            finished.push(RecordBatch::try_new(Arc::clone(&self.schema), columns)?);
            self.waiting.pop_front();
        }
        Ok(finished)
    }
}
