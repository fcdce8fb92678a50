//! What is logged, changed while the program runs.

use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::reload::Handle;

use super::log_filter;
use crate::server::LogControl;

/// The filter that is in force.
pub(super) struct LogLevel {
    text: Mutex<String>,
    replace: Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>,
}

impl LogLevel {
    /// The filter `text`, which `handle` replaces.
    pub(super) fn of<S: 'static>(text: &str, handle: Handle<EnvFilter, S>) -> Self {
        let replace = move |filter| handle.reload(filter).map_err(|error| error.to_string());
        Self { text: Mutex::new(text.to_owned()), replace: Box::new(replace) }
    }

    /// As what an operator's question reaches.
    pub(super) fn control(self) -> Arc<dyn LogControl> {
        Arc::new(self)
    }
}

impl LogControl for LogLevel {
    fn filter(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, text: &str) -> Result<(), String> {
        let filter = log_filter(text).map_err(|failure| failure.to_string())?;
        let mut current = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        (self.replace)(filter)?;
        text.clone_into(&mut current);
        Ok(())
    }
}
