//! The probe specs that come with scrimp: plain files in `probes/`, embedded.

use std::path::Path;

use crate::base::ImagePath;
use crate::probe::{ProbeError, Spec};

/// File names and contents, sorted: of several specs that fit one executable the first counts.
const SHIPPED: [(&str, &str); 10] = [
    ("dns.toml", include_str!("../../probes/dns.toml")),
    ("http.toml", include_str!("../../probes/http.toml")),
    ("httpd.toml", include_str!("../../probes/httpd.toml")),
    ("memcached.toml", include_str!("../../probes/memcached.toml")),
    ("mosquitto.toml", include_str!("../../probes/mosquitto.toml")),
    ("mysql.toml", include_str!("../../probes/mysql.toml")),
    ("nginx.toml", include_str!("../../probes/nginx.toml")),
    ("postgres.toml", include_str!("../../probes/postgres.toml")),
    ("redis.toml", include_str!("../../probes/redis.toml")),
    ("ssh.toml", include_str!("../../probes/ssh.toml")),
];

/// Other names under which a spec is known: what an image, a package or a user calls the same server.
const ALIASES: [(&str, &str); 7] = [
    ("mariadb", "mysql"),
    ("postgresql", "postgres"),
    ("apache", "httpd"),
    ("apache2", "httpd"),
    ("valkey", "redis"),
    ("openresty", "nginx"),
    ("sshd", "ssh"),
];

/// The names that `--probe` knows, sorted.
pub fn shipped_names() -> Vec<String> {
    SHIPPED.iter().map(|(file, _)| file.trim_end_matches(".toml").into()).collect()
}

/// The shipped spec named `name`.
pub fn shipped(name: &str) -> Result<Spec, ProbeError> {
    let given = name;
    let unknown = || {
        let known = shipped_names();
        let names = known.iter().map(String::as_str).chain(ALIASES.iter().map(|(alias, _)| *alias));
        ProbeError::UnknownProbe { name: given.into(), near: nearest(given, names), known }
    };
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
    let found = SHIPPED.iter().find(|(file, _)| file.strip_suffix(".toml") == Some(name));
    let (file, text) = found.ok_or_else(unknown)?;
    parsed(file, text)
}

fn parsed(file: &str, text: &str) -> Result<Spec, ProbeError> {
    Spec::parse(text, &format!("probes/{file}"), Path::new(""))
}

/// The one of `names` that was probably meant.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let scored = names.map(|known| (strsim::jaro_winkler(&name.to_lowercase(), known), known));
    let best = scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0));
    best.map(|(_, known)| known.to_owned())
}

/// The first shipped spec that is made for one of `executables`, which stand in the order of their weight.
pub fn shipped_for<'a>(executables: impl IntoIterator<Item = &'a ImagePath>) -> Result<Option<Spec>, ProbeError> {
    let specs = SHIPPED.iter().map(|(file, text)| parsed(file, text)).collect::<Result<Vec<Spec>, _>>()?;
    Ok(executables.into_iter().find_map(|executable| specs.iter().find(|spec| spec.fits(executable)).cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::step::Action;

    #[test]
    fn every_shipped_spec_is_sound() {
        for name in shipped_names() {
            let spec = shipped(&name).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(spec.name, name);
            assert!(spec.description.ends_with('.'), "{name} is described in a sentence");
        }
    }

    #[test]
    fn executables_find_their_spec() {
        for (executables, expected) in [
            (vec!["/usr/sbin/nginx"], Some("nginx")),
            (vec!["/bin/bash", "/usr/local/bin/redis-server"], Some("redis")),
            (vec!["/usr/bin/redis-check-rdb"], Some("redis")),
            (vec!["/usr/lib/postgresql/15/bin/postgres"], Some("postgres")),
            (vec!["/usr/local/apache2/bin/httpd"], Some("httpd")),
            (vec!["/usr/sbin/mysqld"], Some("mysql")),
            (vec!["/usr/sbin/mariadbd"], Some("mysql")),
            (vec!["/opt/mariadb/bin/mariadb"], Some("mysql")),
            (vec!["/usr/bin/mysqld_safe"], Some("mysql")),
            (vec!["/usr/bin/python3.11"], None),
            (vec!["/opt/nginx/bin/helper"], None),
        ] {
            let paths: Vec<ImagePath> = executables.iter().map(|e| ImagePath::parse(e).unwrap()).collect();
            let found = shipped_for(&paths).unwrap().map(|spec| spec.name);
            assert_eq!(found.as_deref(), expected, "{executables:?}");
        }
    }

    #[test]
    fn a_server_is_known_by_its_other_names() {
        for (alias, name) in ALIASES {
            assert_eq!(shipped(alias).unwrap().name, name);
            assert!(shipped_names().iter().all(|shipped| shipped != alias), "{alias}");
        }
        let near = |name: &str| shipped(name).unwrap_err().to_string().contains("did you mean");
        assert!(near("mariadbd") && near("Postgres") && !near("gopher") && !near(""));
    }

    #[test]
    fn what_is_asked_of_any_server_is_safe() {
        for step in shipped("http").unwrap().steps {
            let Action::Http(http) = step.action else { panic!() };
            assert!(["GET", "HEAD", "OPTIONS"].contains(&http.method.as_str()), "{} {}", http.method, http.path);
            assert!(http.body.is_none() || http.method == "OPTIONS");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = shipped("ngnix").unwrap_err().to_string();
        assert_eq!(
            message,
            "there is no probe named \"ngnix\"\nhint: did you mean nginx? shipped are dns, http, httpd, memcached, mosquitto, mysql, nginx, \
             postgres, redis, ssh; a file is given with a slash or `.toml` in its name"
        );
    }
}
