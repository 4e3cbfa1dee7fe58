//! Servers that serve the address that they find, as they do in a container.

use serde_json::json;

use crate::support::{Env, busybox};

/// Serves its own address, and ends when it has none but that of `lo`.
const START: &str = "#!/bin/sh\naddress=$(/bin/busybox ifconfig -a | /bin/busybox sed -n 's/.*inet addr:\\([0-9.]*\\).*/\\1/p' | /bin/busybox grep -v ^127)\n\
                     [ -n \"$address\" ] || { echo 'no address to serve' >&2; exit 1; }\n\
                     exec httpd -f -p \"$address:8080\" -h /www\n";

#[test]
fn a_server_that_looks_for_its_address_has_one_that_is_probed() {
    let env = Env::new();
    let config = json!({"Cmd": ["/bin/start"], "Env": ["PATH=/bin"]});
    let source = busybox(&env, "web", &config, &[("/bin/start", START), ("/www/page.html", "a page")]);
    let out = format!("docker-archive:{}", env.path("small.tar"));
    let arguments = ["slim", &source, "--http", "/page.html", "-o", &out, "--format", "json"];
    let summary = env.scrimp(&arguments).succeeds().json();
    assert_eq!(summary["verify"]["status"], "passed", "{summary}");
    assert!(!summary["warnings"].to_string().contains("eth0"), "{summary}");
}
