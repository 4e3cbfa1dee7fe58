//! A build context that makes the image again without scrimp.
//!
//! Where the base has a name, the Dockerfile takes regular files from the base, directory by directory, so a rebuild
//! takes up the base's updates, and what is kept can be read in it. `COPY` cannot carry everything: it follows links
//! that are named, makes directories 0755 and root's, divides hardlinks, and reads its arguments as patterns. What it
//! cannot carry is in `skeleton.tar`, which `ADD` unpacks last: directories with mode, owner and time, symbolic links,
//! FIFOs and devices, files with several names, set-id bits, extended attributes or names that `COPY` would misread,
//! and files that the base does not have. A base without a name, a directory or the host, is all in `rootfs.tar`.
//!
//! Builders allow some 125 layers per stage, so the copies are spread over stages, and a last stage joins them into
//! one layer. `files.txt` lists all paths.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::Path;

use serde_json::{Value, json};

use crate::assemble::config::BASE_NAME;
use crate::assemble::layer::{Place, Placed, kind};
use crate::assemble::staging::StagedDir;
use crate::assemble::tarball::{Record, TarWriter};
use crate::assemble::{AssembleError, Layer};
use crate::base::ImagePath;
use crate::image::{EntryKind, ImageConfig};

/// How many files' copies one stage may have.
const COPIES_PER_STAGE: usize = 100;

/// What one `COPY` may carry: the files of one directory that have one owner.
type Copies<'a> = BTreeMap<(ImagePath, u32, u32), Vec<&'a ImagePath>>;

/// Writes the context beside the directory, or in it when it exists. Returns the length of its files in bytes and
/// warnings too.
pub fn stage(dir: &Path, layer: &Layer, config: &ImageConfig) -> Result<(StagedDir, u64, Vec<String>), AssembleError> {
    let staged = StagedDir::new(dir)?;
    staged.open_to_others()?;
    let base = config.document()["config"]["Labels"][BASE_NAME].as_str().filter(|name| is_plain(name));
    let mut copies = Copies::new();
    let tar = staged.path().join(if base.is_some() { "skeleton.tar" } else { "rootfs.tar" });
    let mut file = File::create(&tar).map_err(AssembleError::file("create", &tar))?;
    match base {
        Some(_) => {
            copies = copied(layer);
            write_skeleton(layer, &copies, &mut file)
        }
        None => layer.reader().copy_to(&mut file),
    }
    .map_err(AssembleError::file("write", &tar))?;
    let mut bytes = file.metadata().map_err(AssembleError::file("look at", &tar))?.len();
    let files: String = layer.entries.iter().map(|(path, _)| format!("{path}\n")).collect();
    let mut warnings = Vec::new();
    let dockerfile = dockerfile(base, &copies, config, &mut warnings);
    for (name, text) in [("Dockerfile", dockerfile), ("files.txt", files)] {
        let path = staged.path().join(name);
        fs::write(&path, &text).map_err(AssembleError::file("write", &path))?;
        bytes += text.len() as u64;
    }
    Ok((staged, bytes, warnings))
}

/// Whether a builder reads the text as it is, neither as a pattern nor as a variable.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_control() || "*?[]\\$\"'`<>{}#|&;()!^".contains(c))
}

/// The files that `COPY` can carry.
fn copied(layer: &Layer) -> Copies<'_> {
    let mut names_of_several: std::collections::BTreeSet<&ImagePath> = Default::default();
    for (_, placed) in layer.entries.iter() {
        if let Place::Hardlink(first) = &placed.content {
            names_of_several.insert(first);
        }
    }
    let is_copied = |path: &ImagePath, placed: &Placed| {
        matches!(placed.content, Place::At(_))
            && !placed.is_generated
            && !names_of_several.contains(path)
            && placed.entry.xattrs.is_empty()
            && placed.entry.mode & 0o7000 == 0
            && std::str::from_utf8(path.as_bytes()).is_ok_and(is_plain)
    };
    let mut copies = Copies::new();
    for (path, placed) in layer.entries.iter().filter(|(path, placed)| is_copied(path, placed)) {
        let dir = path.parent().unwrap_or_else(ImagePath::root);
        copies.entry((dir, placed.entry.uid, placed.entry.gid)).or_default().push(path);
    }
    copies
}

fn write_skeleton(layer: &Layer, copies: &Copies<'_>, file: &mut File) -> io::Result<()> {
    let is_copied = |path: &ImagePath, placed: &Placed| {
        let dir = path.parent().unwrap_or_else(ImagePath::root);
        let owner = (dir, placed.entry.uid, placed.entry.gid);
        copies.get(&owner).is_some_and(|paths| paths.binary_search(&path).is_ok())
    };
    let mut tar = TarWriter::new(BufWriter::new(file));
    for (path, placed) in layer.entries.iter() {
        let first_name = match &placed.content {
            Place::Hardlink(first) => Some(first),
            _ => None,
        };
        let Some(kind) = kind(&placed.entry, first_name) else { continue };
        if path.is_root() || is_copied(path, placed) {
            continue;
        }
        let entry = &placed.entry;
        tar.begin(&Record {
            name: path.relative(),
            kind,
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            nanos: entry.nanos,
            xattrs: &entry.xattrs,
        })?;
        if let (Place::At(offset), EntryKind::File { size, .. }) = (&placed.content, &entry.kind) {
            io::copy(&mut layer.part(*offset, *size), &mut tar)?;
            tar.pad()?;
        }
    }
    tar.finish().map(drop)
}

fn dockerfile(base: Option<&str>, copies: &Copies<'_>, config: &ImageConfig, warnings: &mut Vec<String>) -> String {
    let mut text = String::from(
        "# Written by scrimp: an image with the files that its application uses, and no others. files.txt lists them.\n\
         # Build it with `docker build -t NAME .`, `podman build -t NAME .` or `buildah bud -t NAME .`.\n",
    );
    match base {
        Some(base) => {
            text.push_str(
                "#\n# Regular files come from the base, so a rebuild takes up its updates. skeleton.tar has what COPY \
                 cannot carry:\n# directories with their modes and owners, links, set-id bits, file capabilities.\n",
            );
            text.push_str(&format!("ARG BASE={base}\nFROM ${{BASE}} AS source\n"));
            let copies: Vec<_> = copies.iter().collect();
            let stages = copies.chunks(COPIES_PER_STAGE);
            let count = stages.len();
            for (number, stage) in stages.enumerate() {
                text.push_str(&format!("\nFROM scratch AS files-{}\n", number + 1));
                stage.iter().for_each(|((dir, uid, gid), paths)| push_copy(&mut text, dir, (*uid, *gid), paths));
            }
            text.push_str("\nFROM scratch AS files\n");
            (1..=count).for_each(|number| text.push_str(&format!("COPY --from=files-{number} / /\n")));
            text.push_str("ADD skeleton.tar /\n");
        }
        None => text.push_str("FROM scratch AS files\nADD rootfs.tar /\n"),
    }
    text.push_str("\nFROM scratch\nCOPY --from=files / /\n");
    push_settings(&mut text, config, warnings);
    text
}

fn push_copy(text: &mut String, dir: &ImagePath, (uid, gid): (u32, u32), paths: &[&ImagePath]) {
    text.push_str("COPY --from=source ");
    if (uid, gid) != (0, 0) {
        text.push_str(&format!("--chown={uid}:{gid} "));
    }
    text.push('[');
    for path in paths {
        // The parser of Dockerfiles limits the length of a line.
        text.push_str(&format!("{}, \\\n    ", json!(path.to_string())));
    }
    let dir = if dir.is_root() { "/".to_owned() } else { format!("{dir}/") };
    text.push_str(&format!("{}]\n", json!(dir)));
}

/// The instructions that make the execution parameters of the config.
fn push_settings(text: &mut String, image: &ImageConfig, warnings: &mut Vec<String>) {
    let config = &image.document()["config"];
    let mut push = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().into_iter().flat_map(|o| o.keys().cloned()).collect() };
    if let Some(labels) = config["Labels"].as_object() {
        for (key, value) in labels {
            let value = value.as_str().unwrap_or_default();
            warn_of_line_breaks("label", key, value, warnings);
            push(format!("LABEL {}={}", quoted(key), quoted(value)));
        }
    }
    for variable in strings(&config["Env"]) {
        let (name, value) = variable.split_once('=').unwrap_or((&variable, ""));
        warn_of_line_breaks("variable", name, value, warnings);
        push(format!("ENV {name}={}", quoted(value)));
    }
    for port in keys(&config["ExposedPorts"]) {
        push(format!("EXPOSE {port}"));
    }
    for volume in keys(&config["Volumes"]) {
        push(format!("VOLUME {}", json!([volume])));
    }
    for (key, instruction) in [("WorkingDir", "WORKDIR"), ("User", "USER"), ("StopSignal", "STOPSIGNAL")] {
        if let Some(value) = config[key].as_str().filter(|value| !value.is_empty()) {
            push(format!("{instruction} {}", value.replace('$', "\\$")));
        }
    }
    if config["Shell"].is_array() {
        push(format!("SHELL {}", config["Shell"]));
    }
    push_healthcheck(&mut push, image);
    for trigger in strings(&config["OnBuild"]) {
        push(format!("ONBUILD {trigger}"));
    }
    for (key, instruction) in [("Entrypoint", "ENTRYPOINT"), ("Cmd", "CMD")] {
        if config[key].as_array().is_some_and(|list| !list.is_empty()) {
            push(format!("{instruction} {}", config[key]));
        }
    }
}

fn push_healthcheck(push: &mut impl FnMut(String), image: &ImageConfig) {
    let check = &image.document()["config"]["Healthcheck"];
    let Some(test) = check["Test"].as_array().filter(|test| !test.is_empty()) else { return };
    let mut line = String::from("HEALTHCHECK");
    let times = [("Interval", "interval"), ("Timeout", "timeout"), ("StartPeriod", "start-period")];
    for (key, flag) in times {
        if let Some(nanos) = check[key].as_u64().filter(|&nanos| nanos > 0) {
            // Go's notation of durations knows nanoseconds, so nothing is rounded.
            line.push_str(&format!(" --{flag}={nanos}ns"));
        }
    }
    if let Some(retries) = check["Retries"].as_u64().filter(|&retries| retries > 0) {
        line.push_str(&format!(" --retries={retries}"));
    }
    match (test[0].as_str(), image.healthcheck()) {
        (Some("NONE"), _) => push("HEALTHCHECK NONE".into()),
        (Some("CMD-SHELL"), Some(_)) if test[1].as_str().is_some_and(|command| !command.contains('\n')) => {
            push(format!("{line} CMD {}", test[1].as_str().unwrap_or_default()));
        }
        (_, Some(check)) => push(format!("{line} CMD {}", json!(check.command))),
        _ => {}
    }
}

fn warn_of_line_breaks(what: &str, name: &str, value: &str, warnings: &mut Vec<String>) {
    if value.contains(['\n', '\r']) {
        warnings.push(format!("the {what} {name} has a line break, which a Dockerfile cannot say: it became a space"));
    }
}

/// A value between double quotes. A line break cannot be written in one; it becomes a space.
fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' | '\\' | '$' => out.extend(['\\', c]),
            '\n' | '\r' => out.push(' '),
            c => out.push(c),
        }
    }
    out + "\""
}
