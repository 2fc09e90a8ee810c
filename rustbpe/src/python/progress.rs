//! Progress callbacks and ctrl-c while Rust works without the GIL.

use std::time::{Duration, Instant};

use pyo3::prelude::*;

/// Time between two checks for signals, and between two calls of the progress callback.
pub const INTERVAL: Duration = Duration::from_millis(100);

pub struct Progress {
    callback: Option<Py<PyAny>>,
    last: Instant,
}

impl Progress {
    pub fn new(callback: Option<Py<PyAny>>) -> Progress {
        Progress {
            callback,
            last: Instant::now(),
        }
    }

    /// Whether the interval has passed since the last report.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.last.elapsed() >= INTERVAL
    }

    /// Reports if due. The error is the exception of a signal handler or of the callback.
    pub fn tick(
        &mut self,
        py: Python<'_>,
        phase: &str,
        done: u64,
        total: Option<u64>,
    ) -> PyResult<()> {
        if self.is_due() {
            py.check_signals()?;
            self.report(py, phase, done, total)?;
        }
        Ok(())
    }

    /// Reports, due or not.
    pub fn report(
        &mut self,
        py: Python<'_>,
        phase: &str,
        done: u64,
        total: Option<u64>,
    ) -> PyResult<()> {
        self.last = Instant::now();
        if let Some(callback) = &self.callback {
            callback.call1(py, (phase, done, total))?;
        }
        Ok(())
    }
}
