//! Running `pkv` and reading what it says.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// What a run of `pkv` left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pkv"));
    command.stdin(Stdio::null());
    command
}

/// Runs `pkv` with these words, then the path, then the rest.
pub(crate) fn pkv(words: &[&str], path: &Path, rest: &[&str]) -> Ran {
    run(words.iter().map(OsStr::new).chain([path.as_os_str()]).chain(rest.iter().map(OsStr::new)))
}

pub(crate) fn run(words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
    let output = command().args(words).output().unwrap();
    Ran {
        code: output.status.code().expect("ended by a signal"),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ran {
    /// Says that there is a result, and that it is this exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.err, "", "{self:?}");
        self
    }

    /// Says that there is no result but an error of one line, and returns it.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{self:?}");
        assert!(self.err.starts_with("pkv: ") && self.err.lines().count() == 1, "{self:?}");
        self.err
    }

    /// The only line, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.out.lines().count(), 1, "{self:?}");
        serde_json::from_str(&self.out).unwrap()
    }

    /// Each line, as JSON.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Names of the fields of an object, in order of the text.
pub(crate) fn fields(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}
