//! The command line: what `pkv` understands, and one run of it.

use std::ffi::OsString;
use std::io::Write;

use clap::Parser;

use crate::commands::Command;
use crate::error::{Exit, Result};
use crate::output::Output;

const AFTER_HELP: &str = "\
Exit codes:
  0  done, nothing is wrong (a torn end is normal after a crash)
  1  the store is damaged or of a newer format
  2  wrong use of the command line, or a word that does not fit the store's types
  3  no such folder, no store in it, or reading, writing or printing failed
  4  a program has the store open
  5  what was asked for is not there: no such key, no such point to restore to

Examples:
  pkv stat data/visits
  pkv verify --json data/visits
  pkv dump data/visits | head
  pkv incr data/visits alice
  pkv backup data/visits backups/tuesday --since backups/monday
  pkv restore backups/tuesday rescued --at 2026-11-24T10:30:00Z
  pkv prune-backups --dry-run data/visits 2

PATH is the folder that the store was opened with. A wrong path is an error and is never created.";

/// Look at, check, change, move, back up and repair a pkv store
#[derive(Clone, Debug, Parser)]
#[command(name = "pkv", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// Print JSON, one object a line, instead of text (errors stay text on stderr)
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

impl Cli {
    /// Reads a command line, the program's name first.
    ///
    /// # Errors
    /// For wrong use, and for `--help` and `--version`, whose text is the error's. Let it exit.
    pub fn parse_words<W: Into<OsString> + Clone>(
        words: impl IntoIterator<Item = W>,
    ) -> Result<Self, clap::Error> {
        Self::try_parse_from(words)
    }

    /// Runs the command and prints its result to `out`, which is flushed.
    ///
    /// A reader who closes `out` early is no error.
    ///
    /// # Errors
    /// Why there is no result; [`crate::Error::exit`] is what to exit with.
    pub fn run(&self, out: &mut dyn Write) -> Result<Exit> {
        self.run_on(Output::new(out, self.json))
    }

    /// As [`Cli::run`], on a terminal where there is one: `is_coloured` says whether `out` shows colours, and what
    /// takes over a second shows on stderr how far it has come.
    ///
    /// # Errors
    /// As [`Cli::run`].
    pub fn run_on_terminal(&self, out: &mut dyn Write, is_coloured: bool) -> Result<Exit> {
        self.run_on(Output::new(out, self.json).coloured(is_coloured).with_progress())
    }

    fn run_on(&self, mut out: Output<'_>) -> Result<Exit> {
        let exit = self.command.run(&mut out)?;
        out.finish()?;
        Ok(exit)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        super::Cli::command().debug_assert();
    }
}
