//! The image config (OCI image-spec 1.1, config.md, with Docker's additions).

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::base::{Digest, Epoch, ImagePath};
use crate::image::Platform;

/// The PATH that Docker gives an application whose image sets none.
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An image config: the document as it was, and a typed view of it. Fields that this program does not know, such as
/// `OnBuild` or `Shell`, survive.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageConfig(Value);

/// A config that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is not JSON, or not an object.
    #[error("the image config is not a JSON object: {0}")]
    NotAnObject(String),
}

/// How an image wants to be asked whether it is healthy (Docker's `HEALTHCHECK`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Healthcheck {
    /// The command, an argument list; a shell form has become `/bin/sh -c ...` or what `Shell` says.
    pub command: Vec<String>,
    /// How long one check may take.
    pub timeout: Duration,
}

impl ImageConfig {
    /// Parses the JSON document.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        match serde_json::from_slice(bytes) {
            Ok(value @ Value::Object(_)) => Ok(ImageConfig(value)),
            Ok(_) => Err(ConfigError::NotAnObject("it is another JSON value".into())),
            Err(cause) => Err(ConfigError::NotAnObject(cause.to_string())),
        }
    }

    /// The config of a directory or the host: Docker's default PATH and nothing else.
    pub fn bare() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        ImageConfig(json!({"architecture": architecture, "os": "linux", "config": {"Env": [DEFAULT_PATH]}}))
    }

    /// The whole document.
    pub fn document(&self) -> &Value {
        &self.0
    }

    /// The whole document, to change.
    pub fn document_mut(&mut self) -> &mut Map<String, Value> {
        self.0.as_object_mut().expect("constructors admit objects only")
    }

    /// The execution parameters (`config`), to change; an empty object is put there when there is none.
    pub fn execution_mut(&mut self) -> &mut Map<String, Value> {
        let slot = self.document_mut().entry("config").or_insert(Value::Null);
        if !slot.is_object() {
            *slot = json!({});
        }
        slot.as_object_mut().expect("it was made an object above")
    }

    fn execution(&self, key: &str) -> &Value {
        &self.0["config"][key]
    }

    fn strings(&self, key: &str) -> Vec<String> {
        let items = self.execution(key).as_array();
        items.into_iter().flatten().filter_map(|v| v.as_str().map(String::from)).collect()
    }

    fn keys(&self, key: &str) -> Vec<String> {
        let object = self.execution(key).as_object();
        object.into_iter().flat_map(|o| o.keys().cloned()).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.execution(key).as_str().filter(|s| !s.is_empty())
    }

    /// Env, each `NAME=VALUE`.
    pub fn env(&self) -> Vec<String> {
        self.strings("Env")
    }

    /// Entrypoint; empty when there is none.
    pub fn entrypoint(&self) -> Vec<String> {
        self.strings("Entrypoint")
    }

    /// Cmd; empty when there is none.
    pub fn cmd(&self) -> Vec<String> {
        self.strings("Cmd")
    }

    /// User as it is written: `NAME`, `UID`, `NAME:GROUP`, ...
    pub fn user(&self) -> Option<&str> {
        self.text("User")
    }

    /// WorkingDir as it is written.
    pub fn working_dir(&self) -> Option<&str> {
        self.text("WorkingDir")
    }

    /// StopSignal as it is written.
    pub fn stop_signal(&self) -> Option<&str> {
        self.text("StopSignal")
    }

    /// What machine the image is for, where its config says so.
    pub fn platform(&self) -> Option<Platform> {
        Platform::of_document(self.document())
    }

    /// The keys of ExposedPorts, sorted: `8080/tcp`.
    pub fn exposed_ports(&self) -> Vec<String> {
        self.keys("ExposedPorts")
    }

    /// The keys of Volumes that are absolute paths, sorted.
    pub fn volumes(&self) -> Vec<ImagePath> {
        self.keys("Volumes").iter().filter_map(|v| ImagePath::parse(v).ok()).collect()
    }

    /// The healthcheck; `None` when there is none or it is `NONE`.
    pub fn healthcheck(&self) -> Option<Healthcheck> {
        let check = self.execution("Healthcheck");
        let test: Vec<&str> = check["Test"].as_array()?.iter().filter_map(Value::as_str).collect();
        let command = match test.as_slice() {
            ["CMD", argv @ ..] if !argv.is_empty() => argv.iter().map(|s| s.to_string()).collect(),
            ["CMD-SHELL", line] => {
                let mut shell = self.strings("Shell");
                if shell.is_empty() {
                    shell = vec!["/bin/sh".into(), "-c".into()];
                }
                shell.push(line.to_string());
                shell
            }
            _ => return None,
        };
        // Docker's default is 30 s; zero means the default (docker/docker image spec 1.3, Healthcheck).
        let nanos = check["Timeout"].as_u64().filter(|&n| n > 0).unwrap_or(30_000_000_000);
        Some(Healthcheck { command, timeout: Duration::from_nanos(nanos) })
    }

    /// When the image was made, if it says so in a form that can be read.
    pub fn created(&self) -> Option<Epoch> {
        Epoch::from_rfc3339(self.0["created"].as_str()?).ok()
    }

    /// The digest of the document as [`ImageConfig::to_bytes`] writes it, which container tools call the image ID.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// The document as compact JSON in the order in which its keys stand.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_string().into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ImageConfig {
        ImageConfig::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_not_known_survives() {
        let text = r#"{"os":"linux","config":{"OnBuild":["RUN x"],"Shell":["/bin/ash"],"Zed":1},"x":2}"#;
        assert_eq!(config(text).to_bytes(), text.as_bytes());
    }

    #[test]
    fn healthchecks_become_argument_lists() {
        for (test, expected) in [
            (r#"["CMD","/check","-q"]"#, Some(vec!["/check", "-q"])),
            (r#"["CMD-SHELL","test -e /x"]"#, Some(vec!["/bin/sh", "-c", "test -e /x"])),
            (r#"["NONE"]"#, None),
            ("[]", None),
        ] {
            let parsed = config(&format!(r#"{{"config":{{"Healthcheck":{{"Test":{test}}}}}}}"#)).healthcheck();
            assert_eq!(
                parsed.map(|h| h.command),
                expected.map(|e| e.iter().map(|s| s.to_string()).collect()),
                "{test}"
            );
        }
    }

    #[test]
    fn documents_that_are_no_objects_are_refused() {
        for bad in ["", "[]", "null", "{"] {
            assert!(ImageConfig::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
