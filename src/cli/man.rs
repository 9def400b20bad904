//! `cifar-gpu man`

use std::path::PathBuf;

use cifar_gpu::{Error, Result};
use clap::CommandFactory;

use super::Arguments;
use super::terminal::print;

#[derive(clap::Args)]
#[command(after_help = "\
Example:
  cifar-gpu man ~/.local/share/man/man1")]
pub struct Man {
    /// Folder for the pages, one for each command; created if it does not exist
    #[arg(value_name = "DST")]
    folder: PathBuf,
}

impl Man {
    pub fn run(self) -> Result<()> {
        std::fs::create_dir_all(&self.folder).map_err(Error::io("making", &self.folder))?;
        clap_mangen::generate_to(Arguments::command(), &self.folder).map_err(Error::io("writing to", &self.folder))?;
        print(format_args!("manual pages are in {}", self.folder.display()))
    }
}
