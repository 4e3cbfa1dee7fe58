//! Programs that the kernel hands to a program registered for them (binfmt_misc).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::Env;

/// Registers what is in a namespace of its own, so that nothing of the machine changes, and runs the rest there.
const REGISTER: &str = r#"
    mount -t binfmt_misc none /proc/sys/fs/binfmt_misc || exit 99
    echo ':scrimp-letter:E::letter::/bin/cat:' > /proc/sys/fs/binfmt_misc/register || exit 99
    exec "$@"
"#;

#[test]
fn the_handler_of_a_program_is_kept() {
    let env = Env::new();
    let root = env.dir().join("root");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::copy("/bin/busybox", root.join("bin/cat")).expect("no /bin/busybox; install busybox-static");
    fs::write(root.join("a.letter"), "hello\n").unwrap();
    fs::set_permissions(root.join("a.letter"), fs::Permissions::from_mode(0o755)).unwrap();
    let source = format!("rootfs:{}", root.display());
    let trace = env.path("t.trace");
    let words = ["slim", &source, "--trace", &trace, "-o", &format!("rootfs:{}", env.path("small")), "--", "/a.letter"];
    let scrimp = env.scrimp_command(&words);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", REGISTER, "sh"]);
    command.arg(scrimp.get_program()).args(scrimp.get_args());
    command.envs(scrimp.get_envs().filter_map(|(name, value)| Some((name, value?))));
    crate::support::Run::of(command).succeeds();
    let text = fs::read_to_string(&trace).unwrap();
    let cat = text.lines().find(|line| line.contains(r#""path":"/bin/cat""#)).expect("the handler was not seen");
    assert!(cat.contains(r#""operations":["load"]"#), "{cat}");
    assert!(fs::exists(env.dir().join("small/bin/cat")).unwrap());
}
