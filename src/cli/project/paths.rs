//! Paths in a project file are relative to the file.

use std::path::Path;

/// Transports whose details begin with a path.
const TRANSPORTS: [&str; 5] = ["docker-archive", "oci-archive", "oci", "rootfs", "dockerfile"];

/// `text` with its path, if it has one, taken to be in `directory`. What the help calls the value (`value_name`) says
/// what is a path: `FILE` and `DIR`, `SOURCE` and `DEST`, `HOST:CONTAINER`, each also behind `NAME=`.
pub fn anchored(flag: &str, value_name: &str, text: &str, directory: &Path) -> String {
    // A directory of the image.
    if directory.as_os_str().is_empty() || flag == "workdir" {
        return text.into();
    }
    if let (Some((_, what)), Some((name, value))) = (value_name.split_once('='), text.split_once('=')) {
        return format!("{name}={}", anchored(flag, what, value, directory));
    }
    let joined = |path: &str| directory.join(path).to_string_lossy().into_owned();
    match value_name {
        "SOURCE" | "DEST" => source(text, directory),
        "NAME|FILE" if text.contains('/') || text.ends_with(".toml") => joined(text),
        "NAME|FILE" => text.into(),
        _ if value_name.starts_with("HOST:") => joined(text),
        _ if value_name.starts_with("FILE") || value_name.starts_with("DIR") => joined(text),
        _ => text.into(),
    }
}

/// The same for a source or a destination.
pub fn source(text: &str, directory: &Path) -> String {
    match text.split_once(':') {
        Some((transport, path)) if TRANSPORTS.contains(&transport) => {
            format!("{transport}:{}", directory.join(path).to_string_lossy())
        }
        _ => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_path_is_anchored_and_nothing_else() {
        for (flag, value_name, text, expected) in [
            ("lock", "FILE", "a.lock", "/p/a.lock"),
            ("lock", "FILE", "/a.lock", "/a.lock"),
            ("output", "DEST", "docker-archive:out.tar:x:1", "docker-archive:/p/out.tar:x:1"),
            ("against", "SOURCE", "host", "host"),
            ("against", "SOURCE", "docker://x", "docker://x"),
            ("with", "NAME=SOURCE", "db=oci:db", "db=oci:/p/db"),
            ("report", "FORMAT=FILE", "json=r.json", "json=/p/r.json"),
            ("env", "NAME[=VALUE]", "A=b", "A=b"),
            ("volume", "HOST:CONTAINER[:ro]", "data:/data:ro", "/p/data:/data:ro"),
            ("probe", "NAME|FILE", "redis", "redis"),
            ("probe", "NAME|FILE", "shop.toml", "/p/shop.toml"),
            ("workdir", "DIR", "app", "app"),
            ("http", "[METHOD:]PATH", "/x", "/x"),
            ("openapi", "FILE|PATH", "/openapi.json", "/openapi.json"),
        ] {
            assert_eq!(anchored(flag, value_name, text, Path::new("/p")), expected, "--{flag} {text}");
        }
        assert_eq!(anchored("lock", "FILE", "a.lock", Path::new("")), "a.lock");
    }
}
