//! Images made on the spot: busybox and a few files or programs, small enough that each test can unpack one into a
//! store of its own.

use std::fs::File;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use super::Env;

/// The names by which busybox is called in the image.
const APPLETS: [&str; 9] = ["cat", "echo", "env", "false", "httpd", "sh", "sleep", "true", "wget"];

/// Writes an image of busybox and `files` (path, content; what begins with `#!` is executable), and returns it as a
/// SOURCE. `config` is the `config` object of the image's config.
pub fn busybox(env: &Env, name: &str, config: &Value, files: &[(&str, &str)]) -> String {
    let files: Vec<_> = files.iter().map(|(path, content)| (*path, content.as_bytes())).collect();
    busybox_with(env, name, config, &files)
}

/// The same with files of any content: programs are executable too.
pub fn busybox_with(env: &Env, name: &str, config: &Value, files: &[(&str, &[u8])]) -> String {
    let file = env.path(&format!("{name}.tar"));
    let layer = layer(files);
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&Sha256::digest(&layer)))]},
    });
    let manifest =
        json!([{"Config": "config.json", "RepoTags": [format!("localhost/{name}:1")], "Layers": ["layer.tar"]}]);
    let mut archive = Builder::new(File::create(&file).expect("an image's archive"));
    for (name, content) in [
        ("config.json", config.to_string().into_bytes()),
        ("layer.tar", layer),
        ("manifest.json", manifest.to_string().into_bytes()),
    ] {
        append(&mut archive, name, EntryType::Regular, 0o644, &content);
    }
    archive.into_inner().expect("an image's archive");
    env.give(Path::new(&file));
    format!("docker-archive:{file}")
}

/// A web server on port 8080 that serves `/www`.
pub fn web_config() -> Value {
    json!({"Cmd": ["httpd", "-f", "-p", "8080", "-h", "/www"], "Env": ["PATH=/bin"], "ExposedPorts": {"8080/tcp": {}}})
}

fn layer(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut layer = Builder::new(Vec::new());
    let busybox = std::fs::read("/bin/busybox").expect("busybox\nhint: scripts/test installs it");
    for directory in ["bin", "etc", "tmp", "www", "www/cgi-bin"] {
        append(&mut layer, &format!("{directory}/"), EntryType::Directory, 0o755, b"");
    }
    append(&mut layer, "bin/busybox", EntryType::Regular, 0o755, &busybox);
    for applet in APPLETS {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_mode(0o777);
        header.set_size(0);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox").expect("a link in a layer");
    }
    append(&mut layer, "etc/passwd", EntryType::Regular, 0o644, b"root:x:0:0:root:/:/bin/sh\n");
    append(&mut layer, "etc/group", EntryType::Regular, 0o644, b"root:x:0:\n");
    for (path, content) in files {
        let is_program = content.starts_with(b"#!") || content.starts_with(b"\x7fELF");
        let mode = if is_program { 0o755 } else { 0o644 };
        append(&mut layer, path.trim_start_matches('/'), EntryType::Regular, mode, content);
    }
    layer.into_inner().expect("a layer")
}

fn append<W: std::io::Write>(archive: &mut Builder<W>, name: &str, kind: EntryType, mode: u32, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(content.len() as u64);
    archive.append_data(&mut header, name, content).expect("an entry of an archive");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
