//! `cifar-gpu completions`

use cifar_gpu::Result;
use cifar_gpu::nn::ARCHITECTURES;
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

/// Changes the script so that `--arch` also completes files. Bash offers files where no name matches.
fn with_network_files(shell: Shell, script: &str) -> String {
    let names = ARCHITECTURES.join(" ");
    match shell {
        Shell::Zsh => script.replace(&format!(":({names})"), &format!(r#":{{compadd {names}; _files -g "*.toml"}}"#)),
        Shell::Fish => {
            let line = |line: &str| match line.contains(" -l arch ") {
                true => line.replacen(" -r -f ", " -r -F ", 1),
                false => line.to_owned(),
            };
            script.lines().map(line).collect::<Vec<_>>().join("\n")
        }
        _ => script.to_owned(),
    }
}

impl Completions {
    pub fn run(self) -> Result<()> {
        // Generated into memory first: the generator panics on a closed pipe.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "cifar-gpu", &mut script);
        let script = String::from_utf8_lossy(&script);
        // clap_complete writes the hyphen of the program's name in two ways in Bash's script, so that no option is found.
        let script = match self.shell {
            Shell::Bash => script.replace("cifar__subcmd__gpu", "cifar__gpu"),
            shell => with_network_files(shell, &script),
        };
        print(script.trim_end())
    }
}
