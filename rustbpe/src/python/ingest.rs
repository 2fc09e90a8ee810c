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
use crate::split::{Piece, Splitter};

/// A batch is closed at this many bytes even if it may hold more documents, and a longer document is
/// cut into parts of about this size: large enough to make the queues cheap, small enough to keep all
/// workers busy to the end.
const BATCH_BYTES: usize = 512 << 10;

/// Batches in flight for each worker: one being counted, one waiting.
const BATCHES_PER_WORKER: usize = 2;

/// How much has been read and counted.
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

/// A document, or a part of a long one, on its way to a worker and back.
struct Part {
    /// Index of the document in the iterator.
    document: u64,
    /// Whether the document ends here.
    last: bool,
    text: &'static str,
    /// Keeps the text alive; dropped by the thread that holds the GIL.
    owner: Py<PyString>,
}

type Batch = Vec<Part>;

/// A batch that a worker is done with, and its totals.
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
            max_in_flight: threads * BATCHES_PER_WORKER,
            totals: Totals::default(),
            progress,
        };
        let reader = Reader {
            iterator,
            splitter,
            buffer_size,
            read: 0,
            rest: None,
        };
        let fed = feeder.feed(py, reader);
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

/// Joins the tables by adding all others to the largest.
fn join_tables(mut tables: Vec<PieceCounts>) -> PieceCounts {
    tables.sort_by_key(PieceCounts::len);
    let mut all = tables.pop().unwrap_or_default();
    for table in tables {
        all.add_all(table);
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
            // Without this the feeding thread would wait for the batch of a worker that panicked for ever.
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
    for part in batch {
        let mut pieces = 0;
        let count = |piece: Piece<'_>| {
            counts.add(piece);
            pieces += 1;
        };
        splitter.for_each_piece(part.text, count).map_err(|error| {
            format!(
                "the pattern failed on item {} of the iterator: {error}",
                part.document
            )
        })?;
        totals.add(Totals {
            documents: u64::from(part.last),
            characters: part.text.chars().count() as u64,
            bytes: part.text.len() as u64,
            pieces,
        });
    }
    Ok(totals)
}

/// The thread that holds the GIL: feeds the workers and collects their results.
struct Feeder<'p> {
    jobs: Sender<Batch>,
    finished: Receiver<Finished>,
    in_flight: usize,
    max_in_flight: usize,
    totals: Totals,
    progress: &'p mut Progress,
}

impl Feeder<'_> {
    /// Sends everything to the workers and waits until all of it is counted.
    fn feed(&mut self, py: Python<'_>, mut reader: Reader<'_, '_>) -> PyResult<()> {
        loop {
            let batch = reader.next_batch(self.progress)?;
            if batch.is_empty() {
                break;
            }
            while self.in_flight >= self.max_in_flight {
                self.wait(py)?;
            }
            let sent = self.jobs.send(batch);
            sent.map_err(|_| PyRuntimeError::new_err("all counting threads died"))?;
            self.in_flight += 1;
            // Where reading is the slower side nothing is waited for: free finished batches here.
            while let Ok(finished) = self.finished.try_recv() {
                self.collect(finished)?;
            }
            self.tick(py)?;
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
        match py.detach(move || finished.recv_timeout(INTERVAL)) {
            Ok(finished) => self.collect(finished)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PyRuntimeError::new_err("all counting threads died"));
            }
        }
        self.tick(py)
    }

    /// Adds the totals of a finished batch, and drops it.
    fn collect(&mut self, (_batch, outcome): Finished) -> PyResult<()> {
        self.in_flight -= 1;
        self.totals.add(outcome.map_err(PyValueError::new_err)?);
        Ok(())
    }

    fn tick(&mut self, py: Python<'_>) -> PyResult<()> {
        self.progress
            .tick(py, "count", self.totals.characters, None)
    }
}

/// Pulls documents from the iterator and cuts long ones into parts.
struct Reader<'i, 's> {
    iterator: Bound<'i, PyIterator>,
    splitter: &'s Splitter,
    /// The most documents of a batch.
    buffer_size: usize,
    /// Documents pulled.
    read: u64,
    /// The rest of a document whose first part went into the last batch.
    rest: Option<Part>,
}

impl Reader<'_, '_> {
    /// The next batch, closed early when `progress` is due; an empty one when the iterator is exhausted.
    fn next_batch(&mut self, progress: &Progress) -> PyResult<Batch> {
        let mut batch = Batch::new();
        let mut bytes = 0;
        while batch.len() < self.buffer_size && bytes < BATCH_BYTES {
            let Some(part) = self.next_part()? else {
                break;
            };
            bytes += part.text.len();
            batch.push(part);
            if progress.is_due() {
                break;
            }
        }
        Ok(batch)
    }

    fn next_part(&mut self) -> PyResult<Option<Part>> {
        let part = match self.rest.take() {
            Some(rest) => rest,
            None => match self.iterator.next() {
                Some(item) => self.document(item?)?,
                None => return Ok(None),
            },
        };
        let Some(cut) = self.splitter.cut_after(part.text, BATCH_BYTES) else {
            return Ok(Some(part));
        };
        let (text, rest) = part.text.split_at(cut);
        let owner = part.owner.clone_ref(self.iterator.py());
        self.rest = Some(Part {
            text: rest,
            owner,
            ..part
        });
        Ok(Some(Part {
            text,
            last: false,
            ..part
        }))
    }

    fn document(&mut self, item: Bound<'_, PyAny>) -> PyResult<Part> {
        let document = self.read;
        self.read += 1;
        let owner = item.cast_into::<PyString>().map_err(|error| {
            let kind = type_name(&error.into_inner());
            PyTypeError::new_err(format!(
                "item {document} of the iterator is {kind}, not str"
            ))
        })?;
        // SAFETY: a Python string never changes, and its UTF-8 form lives as long as the object,
        // which the part owns for as long as it holds the text.
        let text = unsafe { std::mem::transmute::<&str, &'static str>(owner.to_str()?) };
        Ok(Part {
            document,
            last: true,
            text,
            owner: owner.unbind(),
        })
    }
}

pub fn type_name(object: &Bound<'_, PyAny>) -> String {
    object
        .get_type()
        .name()
        .map_or_else(|_| "an object".into(), |name| name.to_string())
}
