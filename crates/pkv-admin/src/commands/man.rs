//! `pkv man`: manual pages, made from what the command line understands.

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use clap_mangen::Man;
use pkv_fs::Fs;

use crate::cli::Cli;
use crate::error::{Error, Exit, Result};
use crate::output::Output;

/// Arguments of `pkv man`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// The command whose page is printed [default: that of pkv itself]
    command: Option<String>,
    /// Write all pages into this folder instead, as pkv.1, pkv-stat.1 and so on; it must be there
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

impl Args {
    pub(crate) fn run(&self, out: &mut Output<'_>) -> Result<Exit> {
        let mut pages = pages()?;
        if let Some(dir) = &self.dir {
            let folder = out.folder(dir);
            for (name, page) in pages {
                write(&**folder.fs(), &dir.join(format!("{name}.1")), &page)?;
            }
            return Ok(Exit::Good);
        }
        let name =
            self.command.as_ref().map_or("pkv".to_owned(), |command| format!("pkv-{command}"));
        let Some(at) = pages.iter().position(|(page, _)| *page == name) else {
            let command = self.command.clone().unwrap_or_default();
            return Err(Error::NoCommand { command });
        };
        out.print_bytes(&pages.swap_remove(at).1)?;
        Ok(Exit::Good)
    }
}

/// All pages by their names.
fn pages() -> Result<Vec<(String, Vec<u8>)>> {
    let mut command = Cli::command();
    command.build();
    let mut pages = Vec::new();
    add(&command, "pkv", &mut pages)?;
    Ok(pages)
}

fn add(command: &clap::Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let mut page = Vec::new();
    let titled = command.clone().name(name.to_owned()).disable_help_subcommand(true);
    Man::new(titled).render(&mut page).map_err(Error::Output)?;
    pages.push((name.to_owned(), page));
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        add(inner, &format!("{name}-{}", inner.get_name()), pages)?;
    }
    Ok(())
}

/// Makes a page anew.
fn write(fs: &dyn Fs, path: &Path, page: &[u8]) -> Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    Ok(fs.create_new(path)?.write_at(0, page)?)
}
