//! Reddit dumps: one thread decompresses, all cores parse, one thread writes, in file order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

use rayon::prelude::*;

use super::reddit::{self, DumpFilter, KnownPrompts};
use super::source::{Kind, Source};
use super::table_builders::{TableBatches, TableBuilders};
use crate::{Error, Result};
use polyphony_io::lines::{self, LineBlock, ReadOutcome};
use polyphony_io::progress::Progress;

/// The number of 1 MiB blocks per core that are parsed in parallel.
const BLOCKS_A_CORE: usize = 4;

/// Reads a dump and passes its rows to `write`, in line order.
///
/// # Errors
/// When the file cannot be opened, or `write` fails.
pub fn read(
    source: &Source,
    filter: &DumpFilter,
    known: &KnownPrompts,
    progress: &dyn Progress,
    write: &mut dyn FnMut(TableBatches) -> Result<()>,
) -> Result<ReadOutcome> {
    let position = Arc::new(AtomicU64::new(0));
    let mut lines = lines::open(&source.file.path, &position)?.lines();
    let name: Arc<str> = Arc::from(source.name.as_str());
    let group = BLOCKS_A_CORE * rayon::current_num_threads();
    let parse = |block: LineBlock| -> Result<TableBatches> {
        let mut rows = TableBuilders::new(&name);
        for (number, line) in block.lines() {
            rows.lines += 1;
            match source.kind {
                Kind::Submissions => reddit::submission(number, line, filter, &mut rows),
                _ => reddit::comment(number, line, filter, known, &mut rows),
            }
        }
        rows.finish()
    };
    thread::scope(|scope| {
        let (to_parse, blocks) = sync_channel(group);
        let (to_write, parsed) = sync_channel(1);
        let reader = scope.spawn(move || {
            for block in lines.by_ref() {
                if to_parse.send(block).is_err() {
                    // The receiver is gone only when the writer failed, and the writer returns the
                    // error.
                    return Ok(ReadOutcome::default());
                }
            }
            lines.outcome()
        });
        scope.spawn(move || {
            // A group is parsed in parallel and sent in order, so the output does not depend on the cores.
            while let Some(group) = take(&blocks, group) {
                let finished: Vec<Result<TableBatches>> =
                    group.into_par_iter().map(parse).collect();
                if to_write.send(finished).is_err() {
                    break;
                }
            }
        });
        for finished in parsed {
            for rows in finished {
                write(rows?)?;
            }
            progress.set_position(position.load(Ordering::Relaxed));
        }
        reader.join().map_err(|_| {
            let path = source.file.path.display();
            Error::Internal(format!("the thread that reads {path} panicked"))
        })?
    })
}

/// Up to `many` blocks; `None` at the end of the file.
fn take(blocks: &Receiver<LineBlock>, many: usize) -> Option<Vec<LineBlock>> {
    let first = blocks.recv().ok()?;
    let mut group = vec![first];
    while group.len() < many {
        match blocks.recv() {
            Ok(block) => group.push(block),
            Err(_) => break,
        }
    }
    Some(group)
}
