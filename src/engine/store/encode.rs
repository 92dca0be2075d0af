//! Parallel Parquet encoder: row groups are encoded by tasks on all cores and appended in order.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;

/// A Parquet file being written. Its bytes do not depend on the number of cores.
pub(super) struct Encoder<W: Write + Send> {
    file: SerializedFileWriter<W>,
    factory: Arc<ArrowRowGroupWriterFactory>,
    schema: SchemaRef,
    rows_a_group: usize,
    pending: Vec<RecordBatch>,
    held_rows: usize,
    groups: usize,
    encoding: VecDeque<Receiver<Result<Vec<ArrowColumnChunk>>>>,
}

impl<W: Write + Send> Encoder<W> {
    /// Creates a file with row groups of `rows_a_group` rows.
    pub(super) fn new(
        to: W,
        schema: SchemaRef,
        properties: WriterProperties,
        rows_a_group: usize,
    ) -> Result<Self> {
        let writer = ArrowWriter::try_new(to, SchemaRef::clone(&schema), Some(properties))?;
        let (file, factory) = writer.into_serialized_writer()?;
        Ok(Self {
            file,
            factory: Arc::new(factory),
            schema,
            rows_a_group,
            pending: Vec::new(),
            held_rows: 0,
            groups: 0,
            encoding: VecDeque::new(),
        })
    }

    /// Adds a batch.
    pub(super) fn write(&mut self, mut batch: RecordBatch) -> Result<()> {
        while self.held_rows + batch.num_rows() >= self.rows_a_group {
            let fits = self.rows_a_group - self.held_rows;
            self.pending.push(batch.slice(0, fits));
            batch = batch.slice(fits, batch.num_rows() - fits);
            self.begin_group()?;
        }
        if batch.num_rows() > 0 {
            self.held_rows += batch.num_rows();
            self.pending.push(batch);
        }
        Ok(())
    }

    /// Encodes the remaining rows and completes the file.
    pub(super) fn finish(mut self) -> Result<W> {
        if self.held_rows > 0 {
            self.begin_group()?;
        }
        while let Some(group) = self.encoding.pop_front() {
            self.append(&group)?;
        }
        self.file.into_inner()
    }

    /// Starts a task that encodes the buffered rows as a row group. With two unfinished groups per core
    /// it waits for the oldest, which bounds the memory and leaves no core idle while groups are
    /// written.
    fn begin_group(&mut self) -> Result<()> {
        let batches = std::mem::take(&mut self.pending);
        self.held_rows = 0;
        let (sender, receiver) = sync_channel(1);
        let (factory, schema, index) = (
            Arc::clone(&self.factory),
            SchemaRef::clone(&self.schema),
            self.groups,
        );
        self.groups += 1;
        rayon::spawn(move || {
            // Sending fails when the receiver is gone because writing the file was abandoned.
            drop(sender.send(encode(&factory, &schema, index, &batches)));
        });
        self.encoding.push_back(receiver);
        if self.encoding.len() > 2 * rayon::current_num_threads()
            && let Some(oldest) = self.encoding.pop_front()
        {
            self.append(&oldest)?;
        }
        Ok(())
    }

    fn append(&mut self, group: &Receiver<Result<Vec<ArrowColumnChunk>>>) -> Result<()> {
        let stopped = |_| ParquetError::General("an encoder stopped".to_owned());
        let mut row_group = self.file.next_row_group()?;
        for chunk in group.recv().map_err(stopped)?? {
            chunk.append_to_row_group(&mut row_group)?;
        }
        row_group.close()?;
        Ok(())
    }
}

fn encode(
    factory: &ArrowRowGroupWriterFactory,
    schema: &SchemaRef,
    index: usize,
    batches: &[RecordBatch],
) -> Result<Vec<ArrowColumnChunk>> {
    let mut writers = factory.create_column_writers(index)?;
    for batch in batches {
        let mut writer = writers.iter_mut();
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            for leaf in compute_leaves(field, column)? {
                if let Some(writer) = writer.next() {
                    writer.write(&leaf)?;
                }
            }
        }
    }
    writers.into_iter().map(ArrowColumnWriter::close).collect()
}
