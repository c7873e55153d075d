//! The commands and their flags: `--help`, completions and man pages all come from here.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::config::{
    CONFIG_VARIABLE,
    environment::variable,
    settings::{DEFAULT_BPFFS, DEFAULT_RUN_DIR, Settings},
};

/// Carries a Kubernetes node's Services and pods in the kernel, without iptables.
///
/// shunt turns ClusterIPs into pods with BPF programs on the pods' interfaces, builds the node's
/// pod network, and keeps both equal to the cluster's objects.
#[derive(Debug, Parser)]
#[command(
    name = "shunt",
    version = crate::VERSION,
    propagate_version = false,
    after_help = "\
Exit status: 0 yes or done, 1 a negative answer (not ready, something missing), 2 an error.
Data goes to standard output, everything else to standard error."
)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub verb: Verb,
}

/// A command.
#[derive(Debug, Subcommand)]
#[command(disable_help_subcommand = true)]
pub enum Verb {
    /// Run the node's agent: build pods, load programs, serve Services.
    ///
    /// The agent serves the network namespace that it is started in, and stays in the foreground.
    /// SIGTERM ends it within a second and leaves the datapath working; `shunt cleanup` removes
    /// that too. Each flag is also a key of the config file (without the dashes in front) and an
    /// environment variable; a flag is stronger than the environment, which is stronger than the
    /// file, which is stronger than the default.
    #[command(after_help = "\
Examples:
  Serve the objects of a folder on this machine:
    shunt agent --node-name node01 --manifests /etc/shunt/manifests
  Serve another network namespace, beside the first agent:
    nsenter --net=/run/netns/node02 shunt agent --node-name node02 --manifests DIR \\
      --run-dir /run/shunt-node02 --bpffs /sys/fs/bpf/shunt-node02
  Begin a config file:
    shunt agent --print-default-config > /etc/shunt/config.toml")]
    Agent(Box<AgentArgs>),
    /// Say whether the node is served as its objects say, and what is wrong.
    ///
    /// Exits with 0 when it is, with 1 when it is not (also when no agent answers), with 2 on an
    /// error.
    #[command(after_help = "\
Examples:
  Wait until the node is ready:
    until shunt status >/dev/null; do sleep 1; done
  Objects that are refused, and why:
    shunt status -o json | jq '.source.errors'")]
    Status(ListArgs),
    /// List what the agent serves.
    #[command(after_help = "\
Examples:
  shunt get services -n kube-system
  shunt get svc web -o wide
  shunt get connections -o json | jq '.[] | select(.idleSeconds > 60)'")]
    Get(GetArgs),
    /// Say what this kernel has, and what shunt will use of it.
    ///
    /// Tries each feature, in a network namespace of its own, and leaves nothing behind. Exits
    /// with 0 when shunt can run, with 1 when something that it requires is missing. Needs root.
    Check(ListArgs),
    /// Remove every program, map, link, interface, route and namespace that shunt made.
    ///
    /// Nothing else is touched, and a second cleanup finds nothing to do. An agent that still
    /// runs is stopped first.
    #[command(after_help = "\
Examples:
  shunt cleanup
  nsenter --net=/run/netns/node02 shunt cleanup --run-dir /run/shunt-node02 \\
    --bpffs /sys/fs/bpf/shunt-node02")]
    Cleanup(PlaceArgs),
    /// Print the completions of a shell.
    #[command(after_help = "\
Examples:
  shunt completions bash > /etc/bash_completion.d/shunt
  shunt completions zsh > /usr/local/share/zsh/site-functions/_shunt")]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print a man page, or write all of them.
    #[command(after_help = "\
Examples:
  shunt man | man -l -
  shunt man get | man -l -
  shunt man --dir /usr/local/share/man/man1")]
    Man {
        /// The command that the page is about. Left out: shunt as a whole.
        #[arg(conflicts_with = "dir")]
        command: Option<String>,
        /// Write the pages of all commands to this folder instead.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Flags of `shunt agent`.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// File of settings, in TOML.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print a config file with every setting, its text and its default, and exit.
    #[arg(long)]
    pub print_default_config: bool,
    /// The settings.
    #[command(flatten)]
    pub settings: Settings,
}

/// Which agent.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// Folder of the agent's socket and state.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR, env = "SHUNT_RUN_DIR", hide_env_values = true)]
    pub run_dir: PathBuf,
    /// Folder of the agent's pinned maps and links.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_BPFFS, env = "SHUNT_BPFFS", hide_env_values = true)]
    pub bpffs: PathBuf,
}

/// Which agent, and how to print its answer.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// How to print: a table for people, or JSON.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: Format,
    /// Which agent.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Flags of `shunt get`.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// What to list.
    pub kind: Kind,
    /// Only the objects of these names.
    pub names: Vec<String>,
    /// Only the objects of this namespace.
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// The objects of all namespaces, as without it.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub output: GetFormat,
    /// Leave out the names of the columns.
    #[arg(long)]
    pub no_headers: bool,
    /// Which agent.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// How `shunt get` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GetFormat {
    /// Columns for people, those of `kubectl get` first; may change between versions.
    Table,
    /// More columns; of endpoints, a line for each.
    Wide,
    /// JSON; fields may be added, and none change.
    Json,
    /// The same as YAML.
    Yaml,
    /// Kinds and names alone.
    Name,
}

impl GetFormat {
    /// Whether it is a table.
    pub const fn is_for_people(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people; may change between versions.
    Table,
    /// JSON; fields may be added, and none change.
    Json,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Services, their addresses and ports, and what went through them.
    #[value(aliases = ["service", "svc"])]
    Services,
    /// Endpoints of each service port, and their conditions.
    #[value(alias = "ep")]
    Endpoints,
    /// Pods, their addresses, namespaces, interfaces and host ports.
    #[value(aliases = ["pod", "po"])]
    Pods,
    /// Nodes, their addresses and pod CIDRs.
    #[value(aliases = ["node", "no"])]
    Nodes,
    /// Connections through Services; times in seconds.
    Connections,
    /// Packets that were dropped or refused, by reason and place.
    Drops,
}

impl Kind {
    /// What several are called.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Endpoints => "endpoints",
            Self::Pods => "pods",
            Self::Nodes => "nodes",
            Self::Connections => "connections",
            Self::Drops => "drops",
        }
    }

    /// What one is called, in `-o name`.
    pub const fn singular(self) -> &'static str {
        match self {
            Self::Services => "service",
            Self::Endpoints => "endpoints",
            Self::Pods => "pod",
            Self::Nodes => "node",
            Self::Connections => "connection",
            Self::Drops => "drop",
        }
    }

    /// Whether they are objects of Kubernetes', which have names.
    pub const fn has_names(self) -> bool {
        !matches!(self, Self::Connections | Self::Drops)
    }
}

/// The commands, with the environment variables and defaults of the agent's settings in its help.
pub fn command() -> Command {
    let defaults = toml::Table::try_from(Settings::defaults()).unwrap_or_default();
    Cli::command().mut_subcommand("agent", |agent| {
        agent.mut_args(|argument| {
            let Some(key) = argument.get_long().map(str::to_owned) else {
                return argument;
            };
            let variable = match key.as_str() {
                "config" => CONFIG_VARIABLE.to_owned(),
                "help" | "print-default-config" => return argument,
                _ => variable(&key),
            };
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let default = defaults.get(&key).map(|default| {
                let text = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
                format!(" [default: {text}]")
            });
            argument.help(format!("{help} [env: {variable}]{}", default.unwrap_or_default()))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn the_agents_help_names_variables_and_defaults() {
        let mut command = command();
        let agent = command.find_subcommand_mut("agent").unwrap();
        let help = agent.render_long_help().to_string().replace(['\n', ' '], "");
        for text in [
            "[env:SHUNT_NODE_NAME]",
            "[env:SHUNT_MAX_SERVICES][default:131072]",
            "[env:SHUNT_SOCKET_LB][default:host]",
            "[env:SHUNT_CONFIG]",
        ] {
            assert!(help.contains(text), "{text}");
        }
    }
}
