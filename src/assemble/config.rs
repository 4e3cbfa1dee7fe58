//! The config of the small image: the base's, less what describes how the base was built.

use serde_json::{Map, Value, json};

use crate::base::{Digest, Epoch};
use crate::image::ImageConfig;
use crate::observation::Overrides;

/// Annotation keys of OCI image-spec 1.1, annotations.md; as labels they are read by registries and update tools.
pub(super) const BASE_NAME: &str = "org.opencontainers.image.base.name";
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// Fields that describe the container in which the base was built, or its place in a format of long ago (Docker image
/// spec 1.0): they are not true of this image.
const BUILD_FIELDS: [&str; 7] =
    ["container", "container_config", "docker_version", "id", "layer_id", "parent", "throwaway"];

/// When the image says it was made: SOURCE_DATE_EPOCH, else what the base says, else 1970.
pub fn created(base: &ImageConfig, source_date_epoch: Option<Epoch>) -> Epoch {
    source_date_epoch.or_else(|| base.created()).unwrap_or_default()
}

/// The base's config with what the run replaced, one layer and one history entry. Everything else stays, what this
/// program does not know included. `base_name` and `base_digest` become labels.
pub fn slim_config(
    base: &ImageConfig,
    overrides: &Overrides,
    base_name: Option<&str>,
    base_digest: Option<&Digest>,
    diff_id: &Digest,
    created: Epoch,
) -> ImageConfig {
    let mut config = base.clone();
    let execution = config.execution_mut();
    if let Some(entrypoint) = &overrides.entrypoint {
        set_list(execution, "Entrypoint", entrypoint);
        if overrides.cmd.is_none() {
            execution.shift_remove("Cmd");
        }
    }
    if let Some(cmd) = &overrides.cmd {
        set_list(execution, "Cmd", cmd);
    }
    if let Some(user) = &overrides.user {
        execution.insert("User".into(), json!(user));
    }
    if let Some(dir) = &overrides.working_dir {
        execution.insert("WorkingDir".into(), json!(dir));
    }
    for variable in &overrides.set_env {
        set_variable(execution, variable);
    }
    let labels = [(BASE_NAME, base_name.map(str::to_owned)), (BASE_DIGEST, base_digest.map(Digest::to_string))];
    for (key, value) in labels {
        set_label(execution, key, value);
    }
    let document = config.document_mut();
    for field in BUILD_FIELDS {
        document.shift_remove(field);
    }
    let created = created.to_string();
    document.insert("created".into(), json!(created));
    document.insert("history".into(), json!([{"created": created, "created_by": "scrimp"}]));
    document.insert("rootfs".into(), json!({"type": "layers", "diff_ids": [diff_id]}));
    config
}

/// Puts HOME into Env, unless it is there. A runtime takes HOME from /etc/passwd, which a small image may lack.
pub fn add_home(config: &mut ImageConfig, home: &str) {
    if !config.env().iter().any(|variable| variable.starts_with("HOME=")) {
        set_variable(config.execution_mut(), &format!("HOME={home}"));
    }
}

fn set_list(execution: &mut Map<String, Value>, key: &str, items: &[String]) {
    if items.is_empty() {
        execution.shift_remove(key);
    } else {
        execution.insert(key.into(), json!(items));
    }
}

/// Replaces the variable of that name where it stands, or appends it.
fn set_variable(execution: &mut Map<String, Value>, variable: &str) {
    let slot = execution.entry("Env").or_insert(Value::Null);
    if !slot.is_array() {
        *slot = json!([]);
    }
    let name = variable.split('=').next().unwrap_or(variable);
    let Some(variables) = slot.as_array_mut() else { return };
    let same_name = |v: &&mut Value| v.as_str().is_some_and(|v| v.split('=').next() == Some(name));
    match variables.iter_mut().find(same_name) {
        Some(present) => *present = json!(variable),
        None => variables.push(json!(variable)),
    }
}

/// Sets a label, or removes it: the base's own base is not this image's.
fn set_label(execution: &mut Map<String, Value>, key: &str, value: Option<String>) {
    let slot = execution.entry("Labels").or_insert(Value::Null);
    if let Some(labels) = slot.as_object_mut() {
        match value {
            Some(value) => drop(labels.insert(key.into(), json!(value))),
            None => drop(labels.shift_remove(key)),
        }
    } else if let Some(value) = value {
        *slot = json!({key: value});
    } else if slot.is_null() {
        execution.shift_remove("Labels");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = r#"{"architecture":"amd64","container":"c0","container_config":{"Cmd":["x"]},
        "created":"2024-05-01T12:00:00.5Z","docker_version":"20.10","id":"i","parent":"p","os":"linux","author":"me",
        "config":{"Env":["PATH=/bin","A=1"],"Entrypoint":["/ep"],"Cmd":["c"],"User":"nobody","WorkingDir":"/w",
        "Healthcheck":{"Test":["NONE"]},"StopSignal":"SIGQUIT","Volumes":{"/v":{}},"ExposedPorts":{"80/tcp":{}},
        "OnBuild":["RUN x"],"Shell":["/bin/ash"],"Labels":{"a":"b","org.opencontainers.image.base.name":"older"},"Zed":1},
        "history":[{"created_by":"many"},{"created_by":"layers"}],"rootfs":{"type":"layers","diff_ids":["sha256:00"]}}"#;

    fn slim(overrides: &Overrides) -> Value {
        let base = ImageConfig::parse(BASE.as_bytes()).unwrap();
        let created = created(&base, None);
        let digest = Digest::of(b"base");
        slim_config(&base, overrides, Some("app:1"), Some(&digest), &Digest::of(b""), created).document().clone()
    }

    #[test]
    fn the_base_without_its_build_and_with_one_layer() {
        let diff_id = Digest::of(b"").to_string();
        let digest = Digest::of(b"base").to_string();
        let expected = json!({"architecture":"amd64","created":"2024-05-01T12:00:00Z","os":"linux","author":"me",
            "config":{"Env":["PATH=/bin","A=1"],"Entrypoint":["/ep"],"Cmd":["c"],"User":"nobody","WorkingDir":"/w",
            "Healthcheck":{"Test":["NONE"]},"StopSignal":"SIGQUIT","Volumes":{"/v":{}},"ExposedPorts":{"80/tcp":{}},
            "OnBuild":["RUN x"],"Shell":["/bin/ash"],
            "Labels":{"a":"b","org.opencontainers.image.base.name":"app:1","org.opencontainers.image.base.digest":digest},
            "Zed":1},
            "history":[{"created":"2024-05-01T12:00:00Z","created_by":"scrimp"}],
            "rootfs":{"type":"layers","diff_ids":[diff_id]}});
        assert_eq!(slim(&Overrides::default()), expected);
    }

    #[test]
    fn what_the_run_replaced_is_replaced() {
        let list = |items: &[&str]| Some(items.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        let entrypoint = Overrides { entrypoint: list(&["/x"]), ..Overrides::default() };
        assert_eq!(slim(&entrypoint)["config"]["Entrypoint"], json!(["/x"]));
        assert_eq!(slim(&entrypoint)["config"].get("Cmd"), None, "an entrypoint clears the base's command");
        let all = Overrides {
            entrypoint: list(&[]),
            cmd: list(&["/y", "z"]),
            user: Some("5:6".into()),
            working_dir: Some("/z".into()),
            set_env: vec!["A=2".into(), "B=3".into()],
        };
        let config = slim(&all)["config"].clone();
        assert_eq!(config.get("Entrypoint"), None);
        assert_eq!(
            (&config["Cmd"], &config["User"], &config["WorkingDir"], &config["Env"]),
            (&json!(["/y", "z"]), &json!("5:6"), &json!("/z"), &json!(["PATH=/bin", "A=2", "B=3"]))
        );
    }

    #[test]
    fn a_base_that_has_no_name_leaves_no_label_of_another() {
        let base = ImageConfig::parse(BASE.as_bytes()).unwrap();
        let config = slim_config(&base, &Overrides::default(), None, None, &Digest::of(b""), Epoch(0));
        assert_eq!(config.document()["config"]["Labels"], json!({"a": "b"}));
        let bare = slim_config(&ImageConfig::bare(), &Overrides::default(), None, None, &Digest::of(b""), Epoch(0));
        assert_eq!(bare.document()["config"].get("Labels"), None);
    }

    #[test]
    fn home_is_added_once() {
        let mut config = ImageConfig::bare();
        add_home(&mut config, "/root");
        add_home(&mut config, "/other");
        assert_eq!(config.env()[1..], ["HOME=/root"]);
    }

    #[test]
    fn the_time_of_the_environment_prevails() {
        let base = ImageConfig::parse(BASE.as_bytes()).unwrap();
        assert_eq!(created(&base, Some(Epoch(5))), Epoch(5));
        assert_eq!(created(&ImageConfig::bare(), None), Epoch(0));
    }
}
