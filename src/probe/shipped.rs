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

/// The names that `--probe` knows, sorted.
pub fn shipped_names() -> Vec<String> {
    SHIPPED.iter().map(|(file, _)| file.trim_end_matches(".toml").into()).collect()
}

/// The shipped spec named `name`.
pub fn shipped(name: &str) -> Result<Spec, ProbeError> {
    let unknown = || ProbeError::UnknownProbe { name: name.into(), known: shipped_names() };
    let found = SHIPPED.iter().find(|(file, _)| file.strip_suffix(".toml") == Some(name));
    let (file, text) = found.ok_or_else(unknown)?;
    parsed(file, text)
}

fn parsed(file: &str, text: &str) -> Result<Spec, ProbeError> {
    Spec::parse(text, &format!("probes/{file}"), Path::new(""))
}

/// The first shipped spec that is made for one of `executables`, which stand in the order of their weight.
pub fn shipped_for<'a>(executables: impl IntoIterator<Item = &'a ImagePath>) -> Result<Option<Spec>, ProbeError> {
    let specs = SHIPPED.iter().map(|(file, text)| parsed(file, text)).collect::<Result<Vec<Spec>, _>>()?;
    Ok(executables.into_iter().find_map(|executable| specs.iter().find(|spec| spec.fits(executable)).cloned()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (vec!["/usr/bin/python3.11"], None),
            (vec!["/opt/nginx/bin/helper"], None),
        ] {
            let paths: Vec<ImagePath> = executables.iter().map(|e| ImagePath::parse(e).unwrap()).collect();
            let found = shipped_for(&paths).unwrap().map(|spec| spec.name);
            assert_eq!(found.as_deref(), expected, "{executables:?}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = shipped("ngnix").unwrap_err().to_string();
        assert_eq!(
            message,
            "there is no probe named \"ngnix\"\nhint: shipped are dns, http, httpd, memcached, mosquitto, mysql, nginx, \
             postgres, redis, ssh; a file is given with a slash or `.toml` in its name"
        );
    }
}
