//! What can be typed: pure parsing, nothing is looked at or opened.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cli::project::Project;
use crate::cli::values::{checked, duration, exec_probe, exit_code, http_probe, named_run, number, pages, pids, size};
use crate::closure::Level;
use crate::image::Platform;
use crate::probe::{DEFAULT_DEPTH, DEFAULT_PAGES, Port};
use crate::sandbox::{Limit, Rung};
use crate::select::Pattern;
use crate::session::StopSignal;

/// Makes minimal container images by watching the application run.
#[derive(Debug, Parser)]
#[command(name = "scrimp", version, max_term_width = 110, arg_required_else_help = true)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// Print only errors and results
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// The settings of a project [default: scrimp.toml in the current directory, where there is one]
    #[arg(long, global = true, value_name = "FILE", env = crate::base::env_vars::CONFIG)]
    pub config: Option<PathBuf>,
    /// Where unpacked images and staged results live [default: scrimp in the user's cache directory]
    #[arg(long, global = true, value_name = "DIR", env = crate::base::env_vars::STORE)]
    pub store: Option<PathBuf>,
    /// Whether messages have colours; with auto a terminal decides, NO_COLOR and CLICOLOR_FORCE
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    /// Show nothing that moves: no line that says which phase it is
    #[arg(long, global = true)]
    pub no_progress: bool,
}

/// One per thing that scrimp does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run, probe, select, assemble and verify: an image in, a small image out
    Slim(Box<SlimArgs>),
    /// Run and probe an application and write down every file that it used
    Trace(TraceArgs),
    /// Assemble a small image from one or more traces
    Build(BuildArgs),
    /// Run the same probes on a small image and on its source, and compare
    Verify(VerifyArgs),
    /// Show what is in an image
    Inspect(InspectArgs),
    /// Try what this machine allows, and say how to get more
    Doctor(DoctorArgs),
}

/// `scrimp slim`.
#[derive(Debug, Args)]
pub struct SlimArgs {
    /// Image or root filesystem: docker-archive:FILE[:REF], oci:DIR[:TAG], oci-archive:FILE[:TAG], rootfs:DIR or host
    pub source: Option<String>,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub select: SelectArgs,
    #[command(flatten)]
    pub probe: ProbeArgs,
    #[command(flatten)]
    pub run: RunArgs,
    /// Write the image although nobody tried whether it works
    #[arg(long, help_heading = None::<&str>)]
    pub no_verify: bool,
    /// Walk a directory or the host for its size, which takes time
    #[arg(long, help_heading = None::<&str>)]
    pub measure_source: bool,
    /// Also write the trace of the run
    #[arg(long, value_name = "FILE", help_heading = None::<&str>)]
    pub trace: Option<PathBuf>,
    /// How the summary is printed
    #[arg(long, value_enum, default_value_t = Format::Text, help_heading = None::<&str>)]
    pub format: Format,
    /// Replaces the image's Cmd; the Entrypoint stays
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `scrimp trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// Image or root filesystem, as for slim
    pub source: Option<String>,
    /// The trace to write
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub probe: ProbeArgs,
    #[command(flatten)]
    pub run: RunArgs,
    /// Replaces the image's Cmd; the Entrypoint stays
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `scrimp build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The image or root filesystem that was traced
    pub source: Option<String>,
    /// A trace of it; repeat it for the union of several
    #[arg(long, value_name = "FILE")]
    pub trace: Vec<PathBuf>,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub select: SelectArgs,
    /// Which image of a multi-platform source
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", help_heading = "Run", value_parser = checked::<Platform>)]
    pub platform: Option<String>,
    /// How the summary is printed
    #[arg(long, value_enum, default_value_t = Format::Text, help_heading = None::<&str>)]
    pub format: Format,
}

/// `scrimp verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The small image
    pub slim: String,
    /// The image that it was made from
    #[arg(long, value_name = "SOURCE")]
    pub against: Option<String>,
    /// Run both in a container runtime of this machine, not in scrimp's sandbox; there answers are compared, and
    /// look-ups not
    #[arg(long, value_name = "podman|docker", value_enum, conflicts_with_all = ["sandbox", "exact"])]
    #[arg(hide_possible_values = true)]
    pub runtime: Option<Runtime>,
    #[command(flatten)]
    pub probe: ProbeArgs,
    #[command(flatten)]
    pub run: RunArgs,
    /// How the summary is printed
    #[arg(long, value_enum, default_value_t = Format::Text, help_heading = None::<&str>)]
    pub format: Format,
    /// Replaces the images' Cmd; the Entrypoint stays
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// `scrimp inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// Image or directory, as for slim
    pub source: String,
    /// How many directories and files to name
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = number::<usize>)]
    pub top: usize,
    /// Which image of a multi-platform source
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = checked::<Platform>)]
    pub platform: Option<String>,
}

/// `scrimp doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// How the findings are printed
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// Where results go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// docker-archive:FILE[:REF], oci:DIR[:TAG], oci-archive:FILE[:TAG], rootfs:DIR or dockerfile:DIR; repeatable
    #[arg(short, long, value_name = "DEST")]
    pub output: Vec<String>,
    /// A name for the image, NAME[:TAG]; repeatable
    #[arg(short, long, value_name = "NAME")]
    pub tag: Vec<String>,
    /// Also write the list of files that the image holds, each with its reasons
    #[arg(long, value_name = "FILE")]
    pub lock: Option<PathBuf>,
}

/// What is kept.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selection")]
pub struct SelectArgs {
    /// How far to go beyond what was used
    #[arg(long, default_value = "app", value_name = "observed|closure|app|package", value_parser = checked::<Level>)]
    pub level: String,
    /// Keep what matches, with its parents and links; repeatable
    #[arg(long, value_name = "GLOB", value_parser = checked::<Pattern>)]
    pub keep: Vec<String>,
    /// Keep all files of a package, by the name that its manager prints; repeatable
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub keep_package: Vec<String>,
    /// Keep a program that PATH finds, or at an absolute path, with what it needs; repeatable
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub keep_exe: Vec<String>,
    /// Keep /bin/sh, with what it needs
    #[arg(long)]
    pub keep_shell: bool,
    /// Keep the certificates of authorities, where OpenSSL, GnuTLS, Go, Java and others look for them
    #[arg(long)]
    pub keep_certs: bool,
    /// Keep the time zones
    #[arg(long)]
    pub keep_zoneinfo: bool,
    /// Keep a locale such as de_DE.UTF-8: its data, its charset and messages of kept packages; repeatable
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub keep_locale: Vec<String>,
    /// Keep all that was in a directory that the application listed and that matches; repeatable
    #[arg(long, value_name = "GLOB", value_parser = checked::<Pattern>)]
    pub keep_listed: Vec<String>,
    /// Leave out what matches; refused when the trace shows that it was used; repeatable
    #[arg(long, value_name = "GLOB", value_parser = checked::<Pattern>)]
    pub drop: Vec<String>,
    /// Leave out what --drop names even where it was used
    #[arg(long)]
    pub force_drop: bool,
    /// Leave out the data by which scanners know the packages, and the packages' licences
    #[arg(long)]
    pub no_package_db: bool,
}

/// How the application is exercised.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Probes")]
pub struct ProbeArgs {
    /// A shipped probe spec by name, or a file; repeatable
    #[arg(long, value_name = "NAME|FILE", value_parser = NonEmptyStringValueParser::new())]
    pub probe: Vec<String>,
    /// An HTTP request; repeatable
    #[arg(long, value_name = "[METHOD:]PATH", value_parser = http_probe)]
    pub http: Vec<String>,
    /// A command run in the application's container; repeatable
    #[arg(long, value_name = "CMD", value_parser = exec_probe)]
    pub exec: Vec<String>,
    /// An executable of this machine that talks to the application at $SCRIMP_URL; repeatable
    #[arg(long, value_name = "FILE", value_parser = NonEmptyStringValueParser::new())]
    pub script: Vec<String>,
    /// A command line of this machine, such as a test suite, during which the application is watched; repeatable
    #[arg(long = "while", value_name = "CMD")]
    pub during: Vec<String>,
    /// Ask for the start page and all that it leads to on the same host: links, images, styles, scripts, forms by GET
    #[arg(long)]
    pub crawl: bool,
    /// How many links away from the start page --crawl goes
    #[arg(long, default_value_t = DEFAULT_DEPTH, value_name = "N", value_parser = number::<u32>)]
    pub crawl_depth: u32,
    /// How many requests --crawl makes at most
    #[arg(long, default_value_t = DEFAULT_PAGES, value_name = "N", value_parser = pages)]
    pub crawl_pages: u32,
    /// Ask for each operation of an OpenAPI 3 document: a file, or the path at which the application has it; repeatable
    #[arg(long, value_name = "FILE|PATH", value_parser = NonEmptyStringValueParser::new())]
    pub openapi: Vec<String>,
    /// Which exercisers use what the sources name, after the probes; repeatable, or with commas [default: auto]
    #[arg(long, value_name = "auto|none|python|node|ruby|jvm", value_delimiter = ',')]
    pub exercise: Vec<String>,
    /// The exit code of a command that ends by itself
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = exit_code)]
    pub expect_exit: i32,
    /// Do without probes: keep what the start alone uses
    #[arg(long, conflicts_with_all = ["probe", "http", "exec", "script", "during", "crawl", "openapi"])]
    pub no_probe: bool,
}

/// How the application is run. `-e` and `-v` are for the run and never enter the image.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Run")]
pub struct RunArgs {
    /// Another image that runs beside the application, which reaches it at this host name; repeatable
    #[arg(long, value_name = "NAME=SOURCE")]
    pub with: Vec<String>,
    /// One of several ways to start the image, instead of COMMAND; without a command the image's own; repeatable
    #[arg(long = "run", value_name = "NAME=COMMAND", conflicts_with = "command", value_parser = named_run)]
    pub runs: Vec<String>,
    /// What the project file says that no flag does
    #[arg(skip)]
    pub project: Project,
    /// A variable for the run only; NAME alone takes the caller's value; repeatable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,
    /// A variable that stays in the image; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    pub set_env: Vec<String>,
    /// A file or directory of this machine in the container; repeatable
    #[arg(short, long, value_name = "HOST:CONTAINER[:ro]")]
    pub volume: Vec<String>,
    /// An empty tmpfs in the container; repeatable
    #[arg(long, value_name = "PATH")]
    pub tmpfs: Vec<String>,
    /// Replaces the image's User
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub user: Option<String>,
    /// Replaces the image's WorkingDir
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Replaces the image's Entrypoint and clears its Cmd: a command, or a JSON list of it and its arguments
    #[arg(long, value_name = "COMMAND|JSON")]
    pub entrypoint: Option<String>,
    /// The port that probes go to, where there are several
    #[arg(short, long, value_name = "PORT[/udp]", value_parser = checked::<Port>)]
    pub port: Option<String>,
    /// A capability beyond Docker's default, or ALL; repeatable
    #[arg(long, value_name = "CAP")]
    pub cap_add: Vec<String>,
    /// A capability less than Docker's default, or ALL; repeatable
    #[arg(long, value_name = "CAP")]
    pub cap_drop: Vec<String>,
    /// How much memory the application may take: a number and b, k, m or g
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory: Option<u64>,
    /// How many processes and threads it may have; 0 or -1 for any number
    #[arg(long, default_value_t = 2048, value_name = "N", allow_negative_numbers = true)]
    #[arg(value_parser = pids)]
    pub pids_limit: i64,
    /// How much it may write, which is kept in memory then: a number and b, k, m or g
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub disk_limit: Option<u64>,
    /// A resource limit of each process, such as nofile=1024:4096; repeatable
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = checked::<Limit>)]
    pub ulimit: Vec<String>,
    /// The network that the application sees
    #[arg(long, value_enum, default_value_t = Net::None)]
    pub net: Net,
    /// The sandbox, instead of the best that this machine allows: see `scrimp doctor`
    #[arg(long, value_name = "a|b|c|d|e", value_parser = checked::<Rung>)]
    pub sandbox: Option<String>,
    /// How long the application may take to be ready, or to end
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub timeout: Duration,
    /// How long the application may take to stop before it is killed
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    pub stop_timeout: Duration,
    /// Replaces the image's StopSignal
    #[arg(long, value_name = "SIGNAL", value_parser = checked::<StopSignal>)]
    pub stop_signal: Option<String>,
    /// Which image of a multi-platform source
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = checked::<Platform>)]
    pub platform: Option<String>,
    /// See also the one form of fstat that can name a path; slower
    #[arg(long)]
    pub exact: bool,
}

/// A container runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// podman, with root or without
    Podman,
    /// docker, with a daemon on this machine
    Docker,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Whether messages have colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// Where they go to a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The network that an application sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Net {
    /// Its own, which leads nowhere
    None,
    /// The machine's
    Host,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_limit_on_processes_may_be_negative() {
        let parse = |limit: &str| {
            let cli = Cli::try_parse_from(["scrimp", "trace", "host", "-o", "t", "--pids-limit", limit]).ok()?;
            let Command::Trace(args) = cli.command else { panic!("not trace") };
            Some(args.run.pids_limit)
        };
        assert_eq!(["64", "0", "-1"].map(parse), [Some(64), Some(0), Some(-1)]);
        assert_eq!(["-2", "many", "4194305"].map(parse), [None; 3]);
    }

    #[test]
    fn a_command_follows_two_dashes() {
        let cli = Cli::try_parse_from(["scrimp", "slim", "host", "-o", "oci:x", "--", "python3", "-m", "x"]).unwrap();
        let Command::Slim(args) = cli.command else { panic!("not slim") };
        assert_eq!(args.command, ["python3", "-m", "x"]);
    }
}
