//! The limits of a crawl mean nothing without one. Who gives them expects pages to be asked for, so it is an error, and
//! told where it was written: that a limit is typed, is in a variable or in the file makes a difference for what is to
//! be done.

use anyhow::{Result, anyhow};
use clap::ArgMatches;
use clap::parser::ValueSource;

use super::document::Document;
use crate::base::env_vars;

/// The limits: what the parser calls them, and users.
const LIMITS: [(&str, &str); 2] = [("crawl_depth", "crawl-depth"), ("crawl_pages", "crawl-pages")];

/// Refuses limits that were `given` on the command line, by a variable or in `document`, where nothing is crawled.
pub fn refuse_limits(given: &ArgMatches, document: Option<&Document>) -> Result<()> {
    for (id, name) in LIMITS {
        match given.value_source(id) {
            Some(ValueSource::CommandLine) => {
                return Err(anyhow!("--{name} is a limit for --crawl, which is not given\nhint: add --crawl"));
            }
            Some(ValueSource::EnvVariable) => {
                let variable = format!("{}{}", env_vars::PREFIX, name.to_uppercase().replace('-', "_"));
                return Err(anyhow!(
                    "{variable} is set, a limit for --crawl, which is not given\nhint: add --crawl (or SCRIMP_CRAWL=1), or \
                     unset {variable}"
                ));
            }
            _ => {}
        }
        let Some(document) = document else { continue };
        if let Some(setting) = document.settings.iter().find(|s| s.section == "probes" && s.key == name) {
            return Err(anyhow!(
                "{}:{}: {name} is a limit for a crawl, and there is none\nhint: write crawl = true beside it",
                document.file,
                setting.line
            ));
        }
    }
    Ok(())
}
