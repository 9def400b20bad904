//! `cifar-gpu completions`

use cifar_gpu::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use super::Arguments;
use super::common::print;

#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cifar-gpu completions bash > ~/.local/share/bash-completion/completions/cifar-gpu
  cifar-gpu completions zsh > ~/.zfunc/_cifar-gpu
  cifar-gpu completions fish > ~/.config/fish/completions/cifar-gpu.fish")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<()> {
        // Into memory first: the generator panics where a reader has gone away.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "cifar-gpu", &mut script);
        print(String::from_utf8_lossy(&script).trim_end())
    }
}
