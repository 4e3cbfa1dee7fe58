//! File capabilities: in the result they are the bytes that they were in the base, whoever makes it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use serde_json::json;

use crate::support::{Env, Image, Layer, Node, Run, User};
use crate::trees::pax_records;

/// The attribute of `cap_net_bind_service` with these flags; version 3 when there is a root of a user namespace.
fn capability(effective: bool, inheritable: u32, root: Option<u32>) -> Vec<u8> {
    let version = if root.is_some() { 0x0300_0000 } else { 0x0200_0000 };
    let words = [version | u32::from(effective), 1 << 10, inheritable, 0, 0];
    words.into_iter().chain(root).flat_map(u32::to_le_bytes).collect()
}

/// Programs with capabilities, and one without.
fn programs() -> BTreeMap<String, Option<Vec<u8>>> {
    [
        ("bin/effective", Some(capability(true, 0, None))),
        ("bin/permitted", Some(capability(false, 0, None))),
        ("bin/inheritable", Some(capability(false, 1 << 13, None))),
        ("bin/namespace", Some(capability(true, 0, Some(100_000)))),
        ("bin/root", Some(capability(true, 0, Some(0)))),
        ("bin/plain", None),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn image(env: &Env) -> String {
    let busybox = std::fs::read("/bin/busybox").expect("busybox\nhint: scripts/test installs it");
    let mut layer = Layer::new().add("bin", Node::dir(0o755)).add("bin/busybox", Node::file(0o755, busybox));
    layer = layer.add("bin/sh", Node::link("busybox")).add("bin/cat", Node::link("busybox"));
    for (name, value) in programs() {
        let node = Node::file(0o755, "#!/bin/sh\n");
        layer = layer.add(name, value.iter().fold(node, |node, value| node.xattr("security.capability", value)));
    }
    layer.image(env, "capabilities", &json!({"Env": ["PATH=/bin"]}))
}

/// The attributes of the programs in a layer.
fn in_layer(layer: &[u8]) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut archive = tar::Archive::new(layer);
    let (mut found, mut value) = (BTreeMap::new(), None);
    for entry in archive.entries().unwrap().raw(true) {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_pax_local_extensions() {
            let mut records = Vec::new();
            entry.read_to_end(&mut records).unwrap();
            value = pax_records(&records).remove("SCHILY.xattr.security.capability");
            continue;
        }
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let value = value.take();
        if programs().contains_key(&name) {
            found.insert(name, value);
        } else {
            assert_eq!(value, None, "{name}");
        }
    }
    found
}

/// The layer of an image layout in a directory; what wrote it compressed it.
fn layer_of_layout(env: &Env, layout: &str) -> Vec<u8> {
    let json = |file: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(format!("{layout}/{file}")).unwrap()).unwrap()
    };
    let blob = |value: &serde_json::Value| format!("blobs/{}", value["digest"].as_str().unwrap().replace(':', "/"));
    let manifest = json(&blob(&json("index.json")["manifests"][0]));
    let file = format!("{layout}/{}", blob(&manifest["layers"][0]));
    let plain = env.path("layer.tar");
    let script = format!("gzip -dc {file} > {plain} 2>/dev/null || zstd -dcf {file} > {plain} || cp {file} {plain}");
    Run::of({
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script]);
        command
    })
    .succeeds();
    std::fs::read(plain).unwrap()
}

#[test]
fn they_are_the_bases_bytes_whoever_makes_the_image() {
    for (who, env) in [
        ("root", Env::new()),
        ("with newuidmap", Env::as_user(User::Subordinate)),
        ("one id only", Env::as_user(User::Single)),
    ] {
        let source = image(&env);
        let base = Image::layers_of(Path::new(source.strip_prefix("docker-archive:").unwrap()));
        assert_eq!(in_layer(&base[0]), programs(), "the base");
        let (archive, layout) = (env.path("small.tar"), env.path("layout"));
        let destinations = [format!("docker-archive:{archive}"), format!("oci:{layout}")];
        // They are only read: what executes them gets rights, or is refused, as it has a user namespace of its own.
        let names: Vec<String> = programs().into_keys().map(|name| format!("/{name}")).collect();
        let mut arguments = vec!["slim", &source, "-o", &destinations[0], "-o", &destinations[1], "--", "/bin/cat"];
        arguments.extend(names.iter().map(String::as_str));
        let run = env.scrimp(&arguments);
        assert!(run.succeeded(), "{who}: {run}");
        assert_eq!(in_layer(&Image::layers_of(Path::new(&archive))[0]), programs(), "{who}, docker-archive");
        assert_eq!(in_layer(&layer_of_layout(&env, &layout)), programs(), "{who}, oci");
    }
}

#[test]
fn they_are_on_disk_where_the_caller_is_root() {
    let env = Env::new();
    let (source, out) = (image(&env), env.path("small"));
    let names: Vec<String> = programs().into_keys().map(|name| format!("/{name}")).collect();
    let destination = format!("rootfs:{out}");
    let mut arguments = vec!["slim", &source, "-o", &destination, "--", "/bin/cat"];
    arguments.extend(names.iter().map(String::as_str));
    env.scrimp(&arguments).succeeds();
    for (name, expected) in programs() {
        let found = xattr::get(Path::new(&out).join(&name), "security.capability").unwrap();
        // The kernel shows what the root of this namespace may use as version 2, whatever was written.
        let expected = if name == "bin/root" { Some(capability(true, 0, None)) } else { expected };
        assert_eq!(found, expected, "{name}");
    }
}
