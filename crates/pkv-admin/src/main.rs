//! The binary `pkv`: reads the command line, prints to stdout, says errors on stderr, exits with a code.

#![forbid(unsafe_code)]

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use pkv_admin::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse_words(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let stdout = std::io::stdout();
    // The usual rules: a terminal, and neither NO_COLOR nor TERM=dumb.
    let is_coloured = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
    let mut out = BufWriter::with_capacity(64 * 1024, stdout.lock());
    let exit = cli.run_on_terminal(&mut out, is_coloured).unwrap_or_else(|error| {
        // What was printed before the error stays; without a stderr nobody is left to tell.
        let _ = out.flush();
        let _ = writeln!(std::io::stderr(), "pkv: {error}");
        error.exit()
    });
    // Dropping the buffer would try once more to print what could not be printed.
    let _ = out.into_parts();
    ExitCode::from(exit.code())
}
