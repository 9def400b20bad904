//! `cifar-gpu completions`

use cifar_gpu::Result;
use clap::CommandFactory;
use clap_complete::Shell;

use super::Arguments;
use super::terminal::print;

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
        let script = String::from_utf8_lossy(&script);
        // clap_complete writes the hyphen of the program's name in two ways into Bash's script, so that no option is found.
        let script = match self.shell {
            Shell::Bash => script.replace("cifar__subcmd__gpu", "cifar__gpu"),
            _ => script.into_owned(),
        };
        print(script.trim_end())
    }
}
