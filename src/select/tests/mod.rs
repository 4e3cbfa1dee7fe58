//! Selections on small trees, made by name: a file with its content after a colon, a link with an arrow, a directory
//! with a slash at its end.

mod advice;
mod asked;
mod service_tools;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use tempfile::TempDir;

use crate::base::ImagePath;
use crate::closure::{Level, Reason};
use crate::image::{ImageConfig, OwnersAsSeen, Rootfs};
use crate::observation::{Found, Observation, Operation, PathRecord};
use crate::select::{self, Account, Asked, Manifest, Packages, Rules, Scope, SelectError};

/// A base and a run in which each of the files in `used` was opened and each directory in it listed.
struct Case {
    dir: TempDir,
    observation: Observation,
    config: ImageConfig,
}

impl Case {
    fn of(tree: &str, used: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        for line in tree.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, target) = line.split_once(" -> ").map_or((line, None), |(name, target)| (name, Some(target)));
            let (name, content) = name.split_once(": ").unwrap_or((name, "x"));
            let host = dir.path().join(&name[1..]);
            if name.ends_with('/') {
                fs::create_dir_all(host).unwrap();
                continue;
            }
            fs::create_dir_all(host.parent().unwrap()).unwrap();
            match target {
                Some(target) => symlink(target, host).unwrap(),
                None => {
                    fs::write(&host, content.replace("\\n", "\n").replace("\\0", "\0")).unwrap();
                    let mode = if name.contains("/bin/") { 0o755 } else { 0o644 };
                    fs::set_permissions(&host, fs::Permissions::from_mode(mode)).unwrap();
                }
            }
        }
        let mut observation = Observation::blank();
        for text in used {
            let host = dir.path().join(&text[1..]);
            let names =
                fs::read_dir(&host).into_iter().flatten().map(|e| e.unwrap().file_name().into_string().unwrap());
            let found = if host.is_dir() { Found::Dir } else { Found::File { fingerprint: None } };
            let record = PathRecord { listed: names.collect(), ..PathRecord::of(found, &[Operation::Open]) };
            observation.paths.insert(ImagePath::parse(text).unwrap(), record);
        }
        Case { dir, observation, config: ImageConfig::bare() }
    }

    /// Sets what the image's config says of execution.
    fn config(mut self, execution: serde_json::Value) -> Self {
        self.config = ImageConfig::parse(serde_json::json!({"config": execution}).to_string().as_bytes()).unwrap();
        self
    }

    fn variable(mut self, setting: &str) -> Self {
        let config = serde_json::json!({"config": {"Env": ["PATH=/usr/bin:/bin", setting]}});
        self.config = ImageConfig::parse(config.to_string().as_bytes()).unwrap();
        self
    }

    /// What is selected at `level`, and what is to be told of it.
    fn select(&self, level: Level, rules: &Rules) -> (Manifest, Account) {
        let rootfs = Rootfs::lazy(self.dir.path(), Arc::new(OwnersAsSeen)).unwrap();
        let packages = Packages::read(&rootfs).unwrap();
        let scope = Scope {
            rootfs: &rootfs,
            config: &self.config,
            observation: &self.observation,
            packages: &packages,
            level,
            asked: &rules.asked,
        };
        let required = scope.requirements(&BTreeMap::new()).unwrap();
        let manifest = select::select(&rootfs, &required, rules, &self.observation).unwrap();
        let account = select::account(&scope, &manifest).unwrap();
        (manifest, account)
    }
}
