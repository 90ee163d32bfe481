//! Where results are printed: text or JSON, to any writer. The one place that decides between the two.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::folder::Folder;
use crate::json::Json;
use crate::progress::Bar;

/// A result that can be printed.
pub trait Report: Json {
    /// The result as text for people, lines with their ends.
    fn text(&self, out: &mut String);
}

/// Prints results. A reader who goes away, as `head` does, is no error: what follows is not printed.
pub struct Output<'a> {
    out: &'a mut dyn Write,
    is_json: bool,
    is_coloured: bool,
    is_closed: bool,
    bar: Option<Arc<Bar>>,
}

impl<'a> Output<'a> {
    /// Prints to `out`, as JSON or as text.
    pub fn new(out: &'a mut dyn Write, is_json: bool) -> Self {
        Self { out, is_json, is_coloured: false, is_closed: false, bar: None }
    }

    /// Prints text with colours, for a terminal.
    #[must_use]
    pub fn coloured(mut self, is_coloured: bool) -> Self {
        self.is_coloured = is_coloured;
        self
    }

    /// Shows on stderr, where that is a terminal, how far operations that take over a second have come.
    #[must_use]
    pub fn with_progress(mut self) -> Self {
        self.bar = Bar::for_terminal();
        self
    }

    /// The folder at a path, whose operations show how far they have come.
    pub(crate) fn folder(&self, path: &Path) -> Folder {
        let folder = Folder::at(path);
        match self.bar.clone() {
            Some(bar) => folder.on_progress(move |progress| bar.show(progress)),
            None => folder,
        }
    }

    /// Prints one result: JSON on one line, or text.
    ///
    /// # Errors
    /// [`Error::Output`], but not when the reader went away.
    pub fn report(&mut self, report: &(impl Report + ?Sized)) -> Result<()> {
        let mut text = String::new();
        if self.is_json {
            report.json(&mut text);
            text.push('\n');
        } else {
            report.text(&mut text);
            if !self.is_coloured {
                text = anstream::adapter::strip_str(&text).to_string();
            }
        }
        self.print(&text)
    }

    /// Prints text as it is.
    pub(crate) fn print(&mut self, text: &str) -> Result<()> {
        self.print_bytes(text.as_bytes())
    }

    /// Prints bytes as they are.
    pub(crate) fn print_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let out = &mut *self.out;
        if let Some(bar) = &self.bar {
            bar.clear();
        }
        if self.is_closed {
            return Ok(());
        }
        let written = out.write_all(bytes);
        self.settle(written)
    }

    /// Hands everything on. Without it an error of the last bytes would go unseen.
    pub fn finish(&mut self) -> Result<()> {
        if let Some(bar) = &self.bar {
            bar.clear();
        }
        if self.is_closed {
            return Ok(());
        }
        let flushed = self.out.flush();
        self.settle(flushed)
    }

    fn settle(&mut self, done: io::Result<()>) -> Result<()> {
        match done {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(())
            }
            done => done.map_err(Error::Output),
        }
    }

    /// Whether the reader went away, so that nothing more need be worked out.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Whether JSON was asked for.
    pub(crate) fn is_json(&self) -> bool {
        self.is_json
    }
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { out: _, is_json, is_coloured, is_closed, bar: _ } = self;
        f.debug_struct("Output")
            .field("is_json", is_json)
            .field("is_coloured", is_coloured)
            .field("is_closed", is_closed)
            .finish_non_exhaustive()
    }
}
