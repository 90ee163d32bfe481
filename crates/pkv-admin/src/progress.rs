//! How far a long operation has come: told by the operations, shown by whoever wants to.

use std::fmt;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far an operation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is being done, one or two words.
    pub what: &'static str,
    /// How much of it is done, in bytes.
    pub bytes_done: u64,
    /// How much there is, where that is known.
    pub bytes_total: Option<u64>,
}

impl Progress {
    pub(crate) fn new(what: &'static str, bytes_done: u64, bytes_total: Option<u64>) -> Self {
        Self { what, bytes_done, bytes_total }
    }
}

/// Who is told. Called from several threads, some times for each megabyte.
#[derive(Clone)]
pub(crate) struct Observer(Arc<dyn Fn(Progress) + Send + Sync>);

impl Observer {
    pub(crate) fn new(observer: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(observer))
    }

    pub(crate) fn tell(&self, progress: Progress) {
        (self.0)(progress);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// Nothing is shown of what takes no longer.
const QUIET: Duration = Duration::from_secs(1);

/// A progress bar on stderr, for whatever takes longer than a second; nothing where stderr is no terminal.
#[derive(Debug)]
pub(crate) struct Bar {
    since: Instant,
    shown: Mutex<Option<Shown>>,
}

#[derive(Debug)]
struct Shown {
    what: &'static str,
    bar: ProgressBar,
}

impl Bar {
    /// `None` where nobody would see it.
    pub(crate) fn for_terminal() -> Option<Arc<Self>> {
        std::io::stderr()
            .is_terminal()
            .then(|| Arc::new(Self { since: Instant::now(), shown: Mutex::new(None) }))
    }

    pub(crate) fn show(&self, progress: Progress) {
        if self.since.elapsed() < QUIET {
            return;
        }
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.as_ref().is_none_or(|shown| shown.what != progress.what) {
            if let Some(before) = shown.take() {
                before.bar.finish_and_clear();
            }
            *shown = Some(Shown { what: progress.what, bar: new_bar(progress) });
        }
        if let Some(Shown { bar, .. }) = &*shown {
            if let Some(total) = progress.bytes_total {
                bar.set_length(total);
            }
            bar.set_position(progress.bytes_done);
        }
    }

    /// Takes the bar off the terminal.
    pub(crate) fn clear(&self) {
        if let Some(shown) = self.shown.lock().unwrap_or_else(PoisonError::into_inner).take() {
            shown.bar.finish_and_clear();
        }
    }
}

fn new_bar(progress: Progress) -> ProgressBar {
    const KNOWN: &str = "{msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    const UNKNOWN: &str = "{msg} {spinner} {bytes}, {bytes_per_sec}";
    let (template, total) = if progress.bytes_total.is_some() {
        (KNOWN, progress.bytes_total)
    } else {
        (UNKNOWN, None)
    };
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    // A template that does not parse would be a bar in the default style.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(progress.what);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_bar_are_sound() {
        let bar =
            Bar { since: Instant::now().checked_sub(QUIET).unwrap(), shown: Mutex::new(None) };
        bar.show(Progress::new("reading", 5, Some(10)));
        assert_eq!(bar.shown.lock().unwrap().as_ref().unwrap().bar.length(), Some(10));
        bar.show(Progress::new("writing", 7, None));
        let shown = bar.shown.lock().unwrap();
        assert_eq!(
            shown.as_ref().map(|shown| (shown.what, shown.bar.position())),
            Some(("writing", 7))
        );
        drop(shown);
        bar.clear();
        assert!(bar.shown.lock().unwrap().is_none());
    }

    #[test]
    fn what_is_done_in_a_moment_shows_nothing() {
        let bar = Bar { since: Instant::now(), shown: Mutex::new(None) };
        bar.show(Progress::new("reading", 5, Some(10)));
        assert!(bar.shown.lock().unwrap().is_none());
    }
}
