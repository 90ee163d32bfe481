//! Starting cargo: in the workspace, with its command line shown, a failure as an error.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{Failure, Outcome, failed};

/// The workspace's folder.
pub(crate) fn workspace() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// One run of cargo.
pub(crate) struct Cargo {
    command: Command,
    shown: String,
    is_quiet: bool,
}

impl Cargo {
    pub(crate) fn new<const N: usize>(words: [&str; N]) -> Self {
        let command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        Self::of(command, "cargo", words)
    }

    /// Of the nightly toolchain, whichever started this.
    pub(crate) fn nightly<const N: usize>(words: [&str; N]) -> Self {
        let mut command = Command::new("rustup");
        command.args(["run", "nightly", "cargo"]);
        Self::of(command, "cargo +nightly", words)
    }

    fn of<const N: usize>(mut command: Command, shown: &str, words: [&str; N]) -> Self {
        command.args(words).current_dir(workspace());
        // Cargo tells the programs it runs where this package is; handed on to a cargo of another workspace it misleads.
        command.env_remove("CARGO_MANIFEST_DIR");
        Self { command, shown: format!("{shown} {}", words.join(" ")), is_quiet: false }
    }

    pub(crate) fn arguments(mut self, words: impl IntoIterator<Item = String>) -> Self {
        for word in words {
            self.shown += " ";
            self.shown += &word;
            self.command.arg(word);
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.shown = format!("{name}='{value}' {}", self.shown);
        self.command.env(name, value);
        self
    }

    /// In the folder `below` the workspace's.
    pub(crate) fn directory(mut self, below: &str) -> Self {
        self.shown = format!("(cd {below}) {}", self.shown);
        self.command.current_dir(workspace().join(below));
        self
    }

    /// Where the user is, so that the names of files on the command line keep their meaning.
    #[cfg(not(feature = "demo"))]
    pub(crate) fn in_current_directory(mut self) -> Self {
        if let Ok(directory) = std::env::current_dir() {
            self.command.current_dir(directory);
        }
        self
    }

    /// Does not show the command line.
    pub(crate) fn quiet(mut self) -> Self {
        self.is_quiet = true;
        self
    }

    /// Runs it; what it prints goes to the terminal.
    pub(crate) fn run(mut self) -> Outcome {
        if !self.is_quiet {
            println!("\n> {}", self.shown);
        }
        let status = self.command.status().map_err(failed(&self.shown))?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::Task(format!("`{}` failed: {status}", self.shown)))
    }

    /// Starts it and lets it run.
    pub(crate) fn spawn(mut self, stdout: Stdio, stderr: Stdio) -> Result<Child, Failure> {
        println!("\n> {}", self.shown);
        self.command.stdout(stdout).stderr(stderr).spawn().map_err(failed(&self.shown))
    }

    /// Runs it as a part of this program: not shown, and what it failed with is what this fails with.
    #[cfg(not(feature = "demo"))]
    pub(crate) fn run_as_this(mut self) -> Outcome {
        let status = self.command.status().map_err(failed(&self.shown))?;
        match status.code().map(u8::try_from) {
            Some(Ok(0)) => Ok(()),
            Some(Ok(code)) => Err(Failure::Told(code)),
            _ => Err(Failure::Task(format!("`{}` failed: {status}", self.shown))),
        }
    }

    /// What it says on standard error goes to the terminal, whatever becomes of the rest.
    pub(crate) fn telling(mut self) -> Self {
        self.command.stderr(Stdio::inherit());
        self
    }

    /// Runs it and returns what it printed.
    pub(crate) fn output(mut self) -> Result<String, Failure> {
        let output = self.command.output().map_err(failed(&self.shown))?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::Task(format!(
                "`{}` failed: {}\n{errors}",
                self.shown, output.status
            )));
        }
        String::from_utf8(output.stdout).map_err(failed(&self.shown))
    }
}

/// Where cargo builds a workspace of its own that lies `below` ours: beside it, or below a target
/// folder that was given by the environment, one for each, since their flags differ.
pub(crate) fn target_directory(below: &str) -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(given) => PathBuf::from(given).join(below.replace('/', "-")),
        None => workspace().join(below).join("target"),
    }
}
