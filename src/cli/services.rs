//! The services that run beside the application: `--with`, and the tables `[[service]]`.

use anyhow::{Context as _, Result, bail};

use crate::cli::args::{ProbeArgs, RunArgs};
use crate::cli::project::ServiceChoice;
use crate::cli::settings::{self, input};
use crate::pipeline::Beside;
use crate::session::{Settings, Until};

/// All services, those of the file first; a source that `--with` names goes before that of the file.
pub fn services(args: &RunArgs) -> Result<Vec<Beside>> {
    let mut wanted: Vec<ServiceChoice> = args.project.services.clone();
    let mut typed = Vec::new();
    for text in &args.with {
        let Some((name, source)) = text.split_once('=').filter(|(_, source)| !source.is_empty()) else {
            bail!("--with {text:?} is not NAME=SOURCE\nhint: as in --with redis=docker-archive:redis.tar");
        };
        if typed.contains(&name) {
            bail!("--with {name}: there are two services of this name");
        }
        typed.push(name);
        match wanted.iter_mut().find(|service| service.name == name) {
            Some(service) => service.source = Some(source.into()),
            None => wanted.push(ServiceChoice {
                name: name.into(),
                source: Some(source.into()),
                run: plain(args),
                command: Vec::new(),
                until: Until::Ready(None),
            }),
        }
    }
    wanted.iter().map(|service| beside(service, args)).collect()
}

fn beside(service: &ServiceChoice, args: &RunArgs) -> Result<Beside> {
    let ServiceChoice { name, source, run, command, until } = service;
    check_name(name)?;
    let Some(source) = source else {
        bail!("the service {name} has no source\nhint: source = \"docker-archive:FILE\", or --with {name}=SOURCE");
    };
    let opened = || -> Result<Beside> {
        let input = input(source, run.platform.as_deref())?;
        let settings = settings::run(run, &untyped::<ProbeArgs>(), &input.source, command.clone())?;
        let network = settings::network(args.net);
        let settings = Settings { network, ..settings };
        Ok(Beside { name: name.clone(), input, settings, until: until.clone() })
    };
    opened().with_context(|| format!("the service {name}"))
}

/// What a service is run with that only `--with` names: nothing but how long the user has patience, and for which
/// platform.
fn plain(args: &RunArgs) -> RunArgs {
    RunArgs { timeout: args.timeout, stop_timeout: args.stop_timeout, platform: args.platform.clone(), ..untyped() }
}

/// The arguments as they are when nobody typed any.
fn untyped<A: clap::Args>() -> A {
    // Flags conflict with the command that the subcommands have beside these arguments.
    let command = A::augment_args(clap::Command::new("service").no_binary_name(true))
        .arg(clap::Arg::new("command").last(true).num_args(0..));
    let matches = command.get_matches_from([""; 0]);
    A::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// A host name (RFC 1123; underscores as engines allow them) that means nothing else.
fn check_name(name: &str) -> Result<()> {
    let is_label = |label: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.len() <= 63 && label.chars().all(good) && !label.starts_with('-')
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        bail!("the service {name:?} has no name that a host can have\nhint: letters, digits, '-', '_' and '.'");
    }
    if ["localhost", "scrimp"].contains(&name.to_ascii_lowercase().as_str())
        || name.parse::<std::net::Ipv4Addr>().is_ok()
    {
        bail!("a service cannot be called {name}, which means something else already");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(with: &[&str]) -> Result<Vec<String>> {
        let with = with.iter().map(|text| text.to_string()).collect();
        let services = services(&RunArgs { with, ..untyped() })?;
        Ok(services.into_iter().map(|service| service.name).collect())
    }

    #[test]
    fn services_have_names_of_hosts() {
        assert_eq!(named(&["redis=host", "db.test=oci:x", "a_b-1=host"]).unwrap(), ["redis", "db.test", "a_b-1"]);
        for bad in
            ["redis", "=host", "a b=host", "-a=host", "a..b=host", "localhost=host", "10.0.0.1=host", "a=", "a=b c"]
        {
            assert!(named(&[bad]).is_err(), "{bad}");
        }
        assert!(named(&["a=host", "a=host"]).is_err());
    }

    #[test]
    fn a_source_that_cannot_be_read_names_its_service() {
        let error = named(&["db=x.tar"]).map(drop).unwrap_err();
        assert!(format!("{error:#}").starts_with("the service db: "), "{error:#}");
    }
}
