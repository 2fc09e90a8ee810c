//! From a Python iterator of documents to counted pieces.
//!
//! The calling thread pulls documents in batches while it holds the GIL; worker threads split and
//! count them without it, each in its own table. Documents are read where Python keeps them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyIterator, PyString};

use super::progress::{INTERVAL, Progress};
use crate::count::PieceCounts;
use crate::split::Splitter;

/// A batch is closed at this many bytes even if more documents were allowed in it.
const BATCH_BYTES: usize = 512 << 10;

/// Batches under way for each worker: one in work, one waiting.
const BATCHES_EACH: usize = 2;

/// What has been read.
#[derive(Clone, Copy, Default)]
pub struct Totals {
    pub documents: u64,
    pub characters: u64,
    pub bytes: u64,
    pub pieces: u64,
}

impl Totals {
    fn add(&mut self, other: Totals) {
        self.documents += other.documents;
        self.characters += other.characters;
        self.bytes += other.bytes;
        self.pieces += other.pieces;
    }
}

/// Documents on their way to a worker and back.
struct Batch {
    /// Index of the first document in the iterator.
    first: u64,
    /// The text of each owner, in order. Declared before the owners it borrows from.
    texts: Vec<&'static str>,
    /// Keeps the texts alive; dropped by the thread that holds the GIL.
    owners: Vec<Py<PyString>>,
}

/// A batch that a worker has dealt with, and what came of it.
type Finished = (Batch, Result<Totals, String>);

/// Splits and counts all documents of `iterator` on `threads` workers.
pub fn count_documents(
    py: Python<'_>,
    iterator: Bound<'_, PyIterator>,
    splitter: &Splitter,
    buffer_size: usize,
    threads: usize,
    progress: &mut Progress,
) -> PyResult<(PieceCounts, Totals)> {
    let stop = AtomicBool::new(false);
    let (jobs, queue) = channel::<Batch>();
    let queue = Mutex::new(queue);
    let (finish, finished) = channel::<Finished>();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let finish = finish.clone();
                scope.spawn(|| work(splitter.clone(), &queue, finish, &stop))
            })
            .collect();
        let mut feeder = Feeder {
            jobs,
            finished,
            in_flight: 0,
            most: threads * BATCHES_EACH,
            totals: Totals::default(),
            progress,
        };
        let fed = feeder.feed(py, iterator, buffer_size);
        stop.store(fed.is_err(), Ordering::Relaxed);
        let Feeder {
            jobs,
            finished,
            totals,
            ..
        } = feeder;
        drop(jobs);
        let tables = py.detach(|| {
            let join = |worker: std::thread::ScopedJoinHandle<'_, PieceCounts>| worker.join();
            workers.into_iter().map(join).collect::<Result<Vec<_>, _>>()
        });
        drop(finished);
        fed?;
        let tables = tables.map_err(|_| PyRuntimeError::new_err("a counting thread died"))?;
        Ok((py.detach(|| join_tables(tables)), totals))
    })
}

/// One table of several; the largest takes in the others.
fn join_tables(mut tables: Vec<PieceCounts>) -> PieceCounts {
    tables.sort_by_key(PieceCounts::len);
    let mut all = tables.pop().unwrap_or_default();
    for table in tables {
        all.absorb(table);
    }
    all
}

/// A worker: counts batches until there are no more.
fn work(
    splitter: Splitter,
    queue: &Mutex<Receiver<Batch>>,
    finish: Sender<Finished>,
    stop: &AtomicBool,
) -> PieceCounts {
    let mut counts = PieceCounts::default();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(batch) = next else {
            return counts;
        };
        let outcome = if stop.load(Ordering::Relaxed) {
            Ok(Totals::default())
        } else {
            // A panic here would leave the feeding thread waiting for this batch for ever.
            catch_unwind(AssertUnwindSafe(|| {
                count_batch(&splitter, &batch, &mut counts)
            }))
            .unwrap_or_else(|_| Err("a counting thread panicked".into()))
        };
        if finish.send((batch, outcome)).is_err() {
            return counts;
        }
    }
}

fn count_batch(
    splitter: &Splitter,
    batch: &Batch,
    counts: &mut PieceCounts,
) -> Result<Totals, String> {
    let mut totals = Totals::default();
    for (index, text) in (batch.first..).zip(&batch.texts) {
        let mut pieces = 0;
        splitter
            .for_each_piece(text, |piece| {
                counts.add(piece.as_bytes(), 1);
                pieces += 1;
            })
            .map_err(|error| {
                format!("the pattern failed on item {index} of the iterator: {error}")
            })?;
        totals.add(Totals {
            documents: 1,
            characters: text.chars().count() as u64,
            bytes: text.len() as u64,
            pieces,
        });
    }
    Ok(totals)
}

/// The side that holds the GIL.
struct Feeder<'p> {
    jobs: Sender<Batch>,
    finished: Receiver<Finished>,
    in_flight: usize,
    most: usize,
    totals: Totals,
    progress: &'p mut Progress,
}

impl Feeder<'_> {
    /// Sends everything to the workers and waits until all of it is counted.
    fn feed(
        &mut self,
        py: Python<'_>,
        mut iterator: Bound<'_, PyIterator>,
        most: usize,
    ) -> PyResult<()> {
        let mut read = 0;
        loop {
            let batch = next_batch(&mut iterator, read, most)?;
            if batch.owners.is_empty() {
                break;
            }
            read += batch.owners.len() as u64;
            while self.in_flight >= self.most {
                self.wait(py)?;
            }
            self.jobs
                .send(batch)
                .map_err(|_| PyRuntimeError::new_err("all counting threads died"))?;
            self.in_flight += 1;
        }
        while self.in_flight > 0 {
            self.wait(py)?;
        }
        self.progress
            .report(py, "count", self.totals.characters, None)
    }

    /// Waits for one batch, or for an interval.
    fn wait(&mut self, py: Python<'_>) -> PyResult<()> {
        let finished = &mut self.finished;
        let received = py.detach(move || finished.recv_timeout(INTERVAL));
        match received {
            Ok((_batch, outcome)) => {
                self.in_flight -= 1;
                self.totals.add(outcome.map_err(PyValueError::new_err)?);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("all counting threads died"));
            }
        }
        self.progress
            .tick(py, "count", self.totals.characters, None)
    }
}

/// Up to `most` documents; none when the iterator is exhausted.
fn next_batch(iterator: &mut Bound<'_, PyIterator>, first: u64, most: usize) -> PyResult<Batch> {
    let mut batch = Batch {
        first,
        texts: Vec::new(),
        owners: Vec::new(),
    };
    let mut bytes = 0;
    while batch.owners.len() < most && bytes < BATCH_BYTES {
        let Some(item) = iterator.next() else {
            break;
        };
        let document = item?.cast_into::<PyString>().map_err(|error| {
            let index = first + batch.owners.len() as u64;
            let kind = type_name(&error.into_inner());
            PyTypeError::new_err(format!("item {index} of the iterator is {kind}, not str"))
        })?;
        let text = document.to_str()?;
        bytes += text.len();
        // SAFETY: a Python string never changes, and its UTF-8 form lives as long as the object,
        // which the batch owns for as long as it holds the text.
        batch
            .texts
            .push(unsafe { std::mem::transmute::<&str, &'static str>(text) });
        batch.owners.push(document.unbind());
    }
    Ok(batch)
}

pub fn type_name(object: &Bound<'_, PyAny>) -> String {
    object
        .get_type()
        .name()
        .map_or_else(|_| "an object".into(), |name| name.to_string())
}
