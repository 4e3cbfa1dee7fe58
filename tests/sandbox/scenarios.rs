//! What is tested. Each scenario runs in a process of its own, once per identity.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::path::Path;

use scrimp::base::ImagePath;
use scrimp::sandbox::identity::IdentityKind;
use scrimp::sandbox::{
    CapabilitySet, Choices, Exit, Namespace, Network, Protocol, Sandbox, SandboxError, SandboxPlan, SpawnError, Stdio,
    Upper, Volume, doctor, handles_signal, list,
};

use crate::harness::{LONG, Place, command, dump, idle, run, sh, start};
use crate::kill;
use crate::observers;
use crate::rungs;
use crate::sealed;
use crate::tracing;

type Scenario = fn();

pub const ALL: [(&str, Scenario); 38] = [
    ("the_application_sees_what_a_container_sees", the_application_sees_what_a_container_sees),
    ("proc_and_sys_are_masked", proc_and_sys_are_masked),
    ("before_linux_5_12_read_only_is_read_only_too", before_linux_5_12_read_only_is_read_only_too),
    ("the_base_is_never_written", the_base_is_never_written),
    ("the_host_is_not_above_the_root", the_host_is_not_above_the_root),
    ("in_memory_too", in_memory_too),
    ("processes_end_as_they_end", processes_end_as_they_end),
    ("a_second_process_joins_the_first", a_second_process_joins_the_first),
    ("commands_that_cannot_be_run_are_named", commands_that_cannot_be_run_are_named),
    ("an_ordinary_user_of_the_image", an_ordinary_user_of_the_image),
    ("no_process_of_a_sandbox_is_the_file_of_scrimp", sealed::no_process_of_a_sandbox_is_the_file_of_scrimp),
    ("where_nothing_can_be_sealed_a_warning_says_so", sealed::where_nothing_can_be_sealed_a_warning_says_so),
    (
        "a_process_that_is_stopped_on_its_way_is_not_waited_for",
        sealed::a_process_that_is_stopped_on_its_way_is_not_waited_for,
    ),
    ("a_process_that_cannot_be_held_on_to_is_an_error", sealed::a_process_that_cannot_be_held_on_to_is_an_error),
    ("a_filter_takes_no_rights_away", tracing::a_filter_takes_no_rights_away),
    ("a_tracer_sees_one_execve_before_the_application", tracing::a_tracer_sees_one_execve_before_the_application),
    ("signals_stay_inside_without_a_pid_namespace", signals_stay_inside_without_a_pid_namespace),
    ("volumes_tmpfs_and_working_directory", volumes_tmpfs_and_working_directory),
    ("the_network_is_its_own", the_network_is_its_own),
    ("the_network_of_the_host", the_network_of_the_host),
    ("the_host_itself_is_a_root", the_host_itself_is_a_root),
    ("owners_are_told_from_outside", owners_are_told_from_outside),
    ("nothing_is_left_after_kill", kill::nothing_is_left_after_kill),
    ("a_victim_of_kill", kill::a_victim_of_kill),
    ("an_unmakeable_sandbox_says_why", an_unmakeable_sandbox_says_why),
    ("the_doctor_finds_what_is_there", the_doctor_finds_what_is_there),
    ("every_rung_runs_and_leaves_the_base_alone", rungs::every_rung_runs_and_leaves_the_base_alone),
    (
        "what_outlives_the_application_is_killed_on_every_rung",
        rungs::what_outlives_the_application_is_killed_on_every_rung,
    ),
    ("a_second_process_runs_on_every_rung", rungs::a_second_process_runs_on_every_rung),
    ("a_copy_is_closed", rungs::a_copy_is_closed),
    ("a_file_that_is_generated_replaces_a_fifo", rungs::a_file_that_is_generated_replaces_a_fifo),
    ("the_only_id_has_the_name_of_the_images_user", rungs::the_only_id_has_the_name_of_the_images_user),
    (
        "the_ladder_finds_the_best_rung_and_the_one_that_is_asked_for",
        rungs::the_ladder_finds_the_best_rung_and_the_one_that_is_asked_for,
    ),
    (
        "an_observer_has_the_tools_of_its_tree_and_what_is_live_of_the_application",
        observers::an_observer_has_the_tools_of_its_tree_and_what_is_live_of_the_application,
    ),
    (
        "an_observer_has_no_more_rights_than_the_application",
        observers::an_observer_has_no_more_rights_than_the_application,
    ),
    ("what_an_observer_is_shown_does_not_lead_outside", observers::what_an_observer_is_shown_does_not_lead_outside),
    ("the_host_itself_can_be_what_observers_see", observers::the_host_itself_can_be_what_observers_see),
    ("without_mounts_there_is_no_other_tree", observers::without_mounts_there_is_no_other_tree),
];

fn the_application_sees_what_a_container_sees() {
    let place = &Place::enter();
    let sandbox = place.start(&place.choices());
    let script = "echo pid $$ $(readlink /proc/self/ns/pid | grep -c pid); id -u; umask; busybox hostname; pwd; \
        cat /etc/hostname; grep -c localhost /etc/hosts; cat /etc/resolv.conf; ls /proc/self/fd; ls /dev; \
        readlink /dev/fd; echo x >/dev/null && echo null; busybox tty; grep -E '^(Cap|NoNewPrivs|SigIgn|SigBlk)' /proc/self/status; \
        tr '\\0' '\\n' </proc/$$/environ; ulimit -n; stat -c %a /dev/shm; busybox ps -o pid | wc -l";
    let mut spec = sh(&script.replace("wc -l", "busybox wc -l"));
    spec.env.push(b"GREETING=hello \xff".to_vec());
    let (reader, writer) = std::io::pipe().unwrap();
    let stdio = Stdio { stdout: writer.try_clone().unwrap().into(), stderr: writer.into(), ..Stdio::null().unwrap() };
    let pid = sandbox.spawn(&spec, stdio).unwrap_or_else(|e| panic!("{e}")).pid;
    let mut bytes = Vec::new();
    BufReader::new(reader).read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert_eq!(sandbox.wait_exit(pid, LONG), Some(Exit::Code(0)), "{text}");
    let hard = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap().1;
    let expected = format!(
        "pid 1 1\n0\n0022\nscrimp\n/\nscrimp\n2\nnameserver 127.0.0.1\n0\n1\n2\n3\ncore\nfd\nfull\nmqueue\nnull\nptmx\npts\n\
         random\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n/proc/self/fd\nnull\nnot a tty\n\
         SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\nCapInh:\t0000000000000000\n\
         CapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\n\
         NoNewPrivs:\t0\nPATH=/usr/bin:/bin\nGREETING=hello \u{fffd}\n{}\n1777\n4\n",
        hard.min(1 << 20)
    );
    assert_eq!(text.replace("SHLVL=1\n", ""), expected);
    assert_eq!(sandbox.warnings(), Vec::<String>::new());
}

fn proc_and_sys_are_masked() {
    masked(&Place::enter());
}

fn masked(place: &Place) {
    let sandbox = place.start(&place.choices());
    let script = "for f in kcore keys timer_list; do test -e /proc/$f && cat /proc/$f; done; ls -A /sys/firmware; \
        echo 1 2>/dev/null >/proc/sysrq-trigger || echo ro; echo x 2>/dev/null >/proc/sys/kernel/hostname || echo ro; \
        mkdir /sys/x 2>/dev/null || echo ro; echo x 2>/dev/null >/etc/hosts || echo ro; ls /sys/class/net; \
        busybox umount /proc 2>/dev/null || echo no; busybox mount -t tmpfs x /tmp 2>/dev/null || echo no; \
        cat /proc/mounts | grep -c -E ' / '; cat /proc/sys/net/ipv4/ip_unprivileged_port_start";
    let (text, _) = run(&sandbox, &sh(script));
    assert_eq!(text, "ro\nro\nro\nro\nlo\nno\nno\n1\n0\n");
}

/// Without `mount_setattr` each mount is made read-only by itself, also those below a volume.
fn before_linux_5_12_read_only_is_read_only_too() {
    let place = &Place::enter();
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let shared = place.scratch.path().join("with a space");
    std::fs::create_dir_all(shared.join("below")).unwrap();
    let nothing = None::<&str>;
    nix::mount::mount(nothing, &shared.join("below"), Some("tmpfs"), nix::mount::MsFlags::empty(), nothing).unwrap();
    let mut choices = place.choices();
    choices.volumes =
        vec![Volume { source: shared.clone(), target: ImagePath::parse("/shared").unwrap(), read_only: true }];
    refuse_call(442, libc::ENOSYS);
    masked(place);
    choices.upper = Upper::Tmpfs;
    let sandbox = place.start(&choices);
    let script = "for f in /shared/x /shared/below/x /dev/x; do touch $f 2>/dev/null || echo ro $f; done; \
        busybox chmod 600 /dev/null 2>/dev/null || echo ro /dev/null; echo x >/dev/null && echo null";
    assert_eq!(run(&sandbox, &sh(script)).0, "ro /shared/x\nro /shared/below/x\nro /dev/null\nnull\n");
}

/// From now on this process and its children get `errno` from the call with this number, as on a kernel without it.
pub fn refuse_call(number: u32, errno: i32) {
    let program = [(0x20, 0, 0), (0x15, 1, number), (0x06, 0, 0x0005_0000 | errno as u32), (0x06, 0, 0x7fff_0000)];
    let mut program = program.map(|(code, jf, k)| libc::sock_filter { code, jt: 0, jf, k });
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program points to `len` instructions, and both outlive the call.
    let installed = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    assert_eq!(installed, 0, "{}", std::io::Error::last_os_error());
}

fn the_base_is_never_written() {
    let place = &Place::enter();
    let before = dump(&place.base());
    let sandbox = place.start(&place.choices());
    let script = "echo new >/etc/new; echo more >>/etc/plain; rm /bin/touch; mkdir -p /a/b; busybox chmod 700 /var/data; \
        echo x >/var/data/x; busybox mv /etc/passwd /etc/moved; stat -c '%a %u' / /tmp /var/data; cat /etc/new; ls /a";
    let (text, exit) = run(&sandbox, &sh(script));
    assert_eq!((text.as_str(), exit), ("755 0\n1777 0\n700 0\nnew\nb\n", Exit::Code(0)));
    drop(sandbox);
    assert_eq!(dump(&place.base()), before);
    let upper = place.scratch.path().join("run/upper/etc/new");
    assert_eq!(std::fs::read_to_string(upper).unwrap(), "new\n");
}

/// `..` at the root crosses to whatever is mounted over it: once, the host's root was still there.
fn the_host_is_not_above_the_root() {
    let place = &Place::enter();
    std::fs::write(place.scratch.path().join("secret"), "of the host\n").unwrap();
    let secret = place.scratch.path().join("secret");
    // A link through `..` would trip over the same thing earlier.
    std::fs::remove_file(place.base().join("etc/resolv.conf")).unwrap();
    let mut choices = Choices::new(Upper::Tmpfs);
    choices.volumes =
        vec![Volume { source: "/".into(), target: ImagePath::parse("/mnt/host").unwrap(), read_only: true }];
    for (choices, seen_by_volume) in [(place.choices(), false), (choices, true)] {
        let sandbox = place.start(&choices);
        let secret = secret.display();
        let script = format!(
            "cat /..{secret} 2>/dev/null || echo gone; cd /; cat ..{secret} 2>/dev/null || echo gone; \
             test \"$(ls /..)\" = \"$(ls /)\" && echo same; cat /mnt/host{secret} 2>/dev/null || echo no volume; \
             grep -c -E '^[^ ]+ / ' /proc/mounts"
        );
        let volume = if seen_by_volume { "of the host" } else { "no volume" };
        assert_eq!(run(&sandbox, &sh(&script)).0, format!("gone\ngone\nsame\n{volume}\n1\n"));
    }
}

fn in_memory_too() {
    let place = &Place::enter();
    let before = dump(&place.base());
    let sandbox = place.start(&Choices::new(Upper::Tmpfs));
    assert_eq!(sandbox.plan().rung.to_string(), "b");
    assert_eq!(
        run(&sandbox, &sh("echo new >/etc/new; rm -r /var; cat /etc/new; ls /var")).0.lines().next(),
        Some("new")
    );
    drop(sandbox);
    assert_eq!(dump(&place.base()), before);
}

fn processes_end_as_they_end() {
    let place = &Place::enter();
    let sandbox = place.start(&place.choices());
    idle(&sandbox);
    let exits = sandbox.exits();
    for (script, expected) in [
        ("exit 0", Exit::Code(0)),
        ("exit 37", Exit::Code(37)),
        ("kill -TERM $$", Exit::Signal(15)),
        ("kill -40 $$", Exit::Signal(40)),
    ] {
        assert_eq!(run(&sandbox, &sh(script)).1, expected, "{script}");
        assert_eq!(exits.recv().unwrap().1, expected);
    }
    let pid = sandbox.spawn(&sh("trap : INT; echo; sleep 1000"), Stdio::null().unwrap()).unwrap().pid;
    assert_eq!(sandbox.wait_exit(pid, std::time::Duration::ZERO), None);
    assert!(!handles_signal(pid, libc::SIGTERM).unwrap());
    sandbox.signal(pid, libc::SIGKILL).unwrap();
    assert_eq!(sandbox.wait_exit(pid, LONG), Some(Exit::Signal(9)));
    assert_eq!(sandbox.signal(pid, libc::SIGKILL).unwrap_err().raw_os_error(), Some(libc::ESRCH));
}

fn a_second_process_joins_the_first() {
    let place = &Place::enter();
    let sandbox = place.start(&place.choices());
    let (first, mut output) =
        start(&sandbox, &sh("echo mark >/tmp/mark; trap 'exit 5' TERM; echo up; while :; do sleep 1000 & wait; done"))
            .unwrap();
    let mut up = [0; 3];
    output.read_exact(&mut up).unwrap();
    let (text, _) =
        run(&sandbox, &sh("cat /tmp/mark; readlink /proc/1/exe; busybox hostname; test $$ -gt 1 && echo other"));
    assert_eq!(text, "mark\n/bin/busybox\nscrimp\nother\n");
    assert!(handles_signal(first.pid, libc::SIGTERM).unwrap());
    sandbox.signal(first.pid, libc::SIGTERM).unwrap();
    assert_eq!(sandbox.wait_exit(first.pid, LONG), Some(Exit::Code(5)));
    match sandbox.spawn(&sh(":"), Stdio::null().unwrap()) {
        Err(SandboxError::Spawn(SpawnError::ApplicationEnded)) => {}
        other => panic!("{:?}", other.map_err(|e| e.to_string())),
    }
}

fn commands_that_cannot_be_run_are_named() {
    let place = &Place::enter();
    let sandbox = place.start(&place.choices());
    idle(&sandbox);
    let refusal = |argv: &[&str]| match start(&sandbox, &command(argv)) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{argv:?} was started"),
    };
    assert_eq!(
        refusal(&["nginx"]),
        "command not found in the image: nginx\nhint: it is in none of the directories of PATH, /usr/bin:/bin"
    );
    assert!(refusal(&["/opt/nginx"]).starts_with("command not found in the image: /opt/nginx\n"));
    assert!(refusal(&[]).starts_with("command not found in the image: "));
    assert_eq!(refusal(&["/etc/plain"]), "command cannot be executed: /etc/plain: permission denied for user 0");
    assert_eq!(refusal(&["/etc"]), "command cannot be executed: /etc: permission denied for user 0");
    assert_eq!(
        refusal(&["/etc/lost"]),
        "cannot execute /etc/lost: No such file or directory (the file is there; the interpreter or loader that it \
         names is not)"
    );
    // What could not be started leaves no trace, and the rest goes on.
    assert_eq!(run(&sandbox, &sh("exit 3")).1, Exit::Code(3));
    let mut spec = command(&["./busybox", "true"]);
    spec.cwd = b"/bin".to_vec();
    assert_eq!(run(&sandbox, &spec).1, Exit::Code(0));
}

fn an_ordinary_user_of_the_image() {
    let place = &Place::enter();
    let sandbox = place.start(&place.choices());
    idle(&sandbox);
    let mut spec = sh(
        "id; grep -E '^Cap' /proc/self/status; touch /etc/x 2>/dev/null || echo denied; touch /tmp/x && stat -c %u /tmp/x",
    );
    (spec.uid, spec.gid, spec.groups) = (1000, 1000, vec![1000, 2000]);
    if place.identity.kind == IdentityKind::Single {
        spec.groups.clear();
        match sandbox.spawn(&spec, Stdio::null().unwrap()) {
            Err(SandboxError::Spawn(SpawnError::NoSuchId { what, id: 1000 })) => assert_eq!(what, "group"),
            other => panic!("{:?}", other.map_err(|e| e.to_string())),
        }
        return;
    }
    let (text, _) = run(&sandbox, &spec);
    assert_eq!(
        text,
        "uid=1000(ana) gid=1000 groups=1000,2000\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n\
         CapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\ndenied\n1000\n"
    );
    spec = sh("busybox chown 1:2 /etc/plain && stat -c %u:%g /etc/plain; grep CapEff /proc/self/status");
    spec.capabilities = CapabilitySet::with_changes(&["CHOWN", "NET_ADMIN"], &["ALL"]).unwrap();
    assert_eq!(run(&sandbox, &spec).0, "1:2\nCapEff:\t0000000000001001\n");
}

fn signals_stay_inside_without_a_pid_namespace() {
    let place = &Place::enter();
    let mut plan = SandboxPlan::for_tree(&place.base(), &place.choices());
    plan.namespaces.remove(&Namespace::Pid);
    let sandbox = Sandbox::start(plan).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(sandbox.warnings(), Vec::<String>::new());
    let (outside, supervisor) = (std::process::id(), sandbox.supervisor());
    let script = format!(
        "kill -0 {outside} 2>/dev/null || echo outside refused; kill -0 {supervisor} && echo inside; \
         sleep 1000 & kill $!; wait $! 2>/dev/null; echo $?"
    );
    let first = idle(&sandbox);
    let (text, exit) = run(&sandbox, &sh(&script));
    assert_eq!((text.as_str(), exit), ("outside refused\ninside\n143\n", Exit::Code(0)));
    // A process that is started later is in the same domain, and what comes from outside goes on.
    assert_eq!(run(&sandbox, &sh(&format!("kill -0 {first} && echo reached"))).0, "reached\n");
    sandbox.signal(first, libc::SIGKILL).unwrap();
    assert_eq!(sandbox.wait_exit(first, LONG), Some(Exit::Signal(9)));
}

fn volumes_tmpfs_and_working_directory() {
    let place = &Place::enter();
    let shared = place.scratch.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("in"), "from outside\n").unwrap();
    let mut choices = place.choices();
    let volume = |target: &str, read_only| Volume {
        source: shared.clone(),
        target: ImagePath::parse(target).unwrap(),
        read_only,
    };
    let file = Volume { source: shared.join("in"), target: ImagePath::parse("/etc/new/in").unwrap(), read_only: true };
    choices.volumes = vec![volume("/rw", false), volume("/var/data/ro", true), file];
    choices.tmpfs = vec![ImagePath::parse("/var/scratch").unwrap()];
    let sandbox = place.start(&choices);
    let mut spec = sh(
        "pwd; stat -c %a .; cat /rw/in /etc/new/in; echo out >/rw/out; touch /var/data/ro/x 2>/dev/null || echo ro; \
        touch /etc/new/in 2>/dev/null || echo ro; touch /var/scratch/x; stat -f -c %T /var/scratch",
    );
    spec.cwd = b"/srv/app".to_vec();
    let (text, _) = run(&sandbox, &spec);
    assert_eq!(text, "/srv/app\n755\nfrom outside\nfrom outside\nro\nro\ntmpfs\n");
    assert_eq!(std::fs::read_to_string(shared.join("out")).unwrap(), "out\n");
    assert!(!place.base().join("rw").exists() && !place.base().join("srv").exists());
}

fn the_network_is_its_own() {
    let place = &Place::enter();
    let sandbox = place.start(&place.choices());
    let (first, mut output) =
        start(&sandbox, &sh("echo up; echo hello | nc -l -p 80; nc -w 1 192.0.2.1 80 2>/dev/null || echo unreachable"))
            .unwrap();
    let mut up = [0; 3];
    output.read_exact(&mut up).unwrap();
    // `up` comes before the socket: look until it is there, or the application has ended.
    let found = loop {
        let found = sandbox.listeners(&[]).unwrap();
        if !found.is_empty() || sandbox.wait_exit(first.pid, std::time::Duration::ZERO).is_some() {
            break found;
        }
    };
    let shown: Vec<_> = found.iter().map(|l| (l.protocol, l.address.to_string(), l.port)).collect();
    assert_eq!(shown, [(Protocol::Tcp, "::".to_owned(), 80)]);
    let answer = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                sandbox.enter_network().unwrap();
                let mut stream = TcpStream::connect("127.0.0.1:80").unwrap();
                let mut text = String::new();
                BufReader::new(&mut stream).read_line(&mut text).unwrap();
                text
            })
            .join()
            .unwrap()
    });
    assert_eq!(answer, "hello\n");
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "unreachable\n");
}

fn the_network_of_the_host() {
    let place = &Place::enter();
    let outside = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut choices = place.choices();
    choices.network = Network::Host;
    let sandbox = place.start(&choices);
    let first = idle(&sandbox);
    assert_eq!(sandbox.listeners(&[first]).unwrap(), []);
    let own = sandbox.listeners(&[std::process::id() as i32]).unwrap();
    assert_eq!(own.iter().map(|l| l.port).collect::<Vec<_>>(), [outside.local_addr().unwrap().port()]);
    std::thread::scope(|scope| scope.spawn(|| sandbox.enter_network().unwrap()).join().unwrap());
    let (text, _) = run(&sandbox, &sh("ls /sys/class/net | grep -c .; mkdir /sys/x 2>/dev/null || echo ro"));
    let interfaces = std::fs::read_dir("/sys/class/net").unwrap().count();
    assert_eq!(text, format!("{interfaces}\nro\n"));
}

fn the_host_itself_is_a_root() {
    let place = &Place::enter();
    let mounts = || std::fs::read("/proc/self/mountinfo").unwrap();
    for in_memory in [true, false] {
        // Other tests mount and unmount at the same time.
        let mut attempts = (0..10).map(|attempt| {
            let before = mounts();
            let dir = place.scratch.path().join(format!("lazy-{attempt}"));
            let upper = if in_memory { Upper::Tmpfs } else { Upper::Dir(dir) };
            let plan = SandboxPlan::for_lazy(Path::new("/"), &before, &list, &Choices::new(upper));
            (Sandbox::start(plan).unwrap_or_else(|e| panic!("{e}")), mounts() == before)
        });
        let (sandbox, _) =
            attempts.find(|(_, is_still)| *is_still).expect("the mounts of this machine do not stand still");
        let script = "echo $$; readlink /bin; grep -c root: /etc/passwd; touch /tmp/scrimp-was-here /run/x && ls /tmp/scrimp-was-here; \
            cat /etc/hostname; ls /proc/1/exe";
        let (text, _) = run(&sandbox, &sh(script));
        let bin = std::fs::read_link("/bin").map(|p| format!("{}\n", p.display())).unwrap_or_default();
        assert_eq!(text, format!("1\n{bin}1\n/tmp/scrimp-was-here\nscrimp\n/proc/1/exe\n"), "{:?}", sandbox.warnings());
        assert!(!Path::new("/tmp/scrimp-was-here").exists());
    }
}

fn owners_are_told_from_outside() {
    let place = &Place::enter();
    let root_owned = std::fs::File::open("/etc/passwd").unwrap();
    let own = std::fs::File::open(place.base().join("etc/passwd")).unwrap();
    assert_eq!(place.identity.owner_outside(root_owned.as_fd()).unwrap(), (0, 0));
    assert_eq!(place.identity.owner(root_owned.as_fd()).unwrap(), (0, 0));
    assert_eq!(place.identity.owner(own.as_fd()).unwrap(), (0, 0));
    let (uid, _) = place.identity.owner_outside(own.as_fd()).unwrap();
    assert_eq!(uid == 0, place.identity.kind == IdentityKind::Root);
}

fn an_unmakeable_sandbox_says_why() {
    let place = &Place::enter();
    let plan = SandboxPlan::for_tree(Path::new("/no/such/base"), &place.choices());
    let error = Sandbox::start(plan).map(|_| ()).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot make the sandbox: cannot open the directory /no/such/base: No such file"),
        "{error}"
    );
    let mut choices = place.choices();
    choices.volumes.push(Volume {
        source: "/no/such/volume".into(),
        target: ImagePath::parse("/v").unwrap(),
        read_only: false,
    });
    let error = Sandbox::start(SandboxPlan::for_tree(&place.base(), &choices)).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("cannot find /no/such/volume: No such file"), "{error}");
}

fn the_doctor_finds_what_is_there() {
    let scratch = tempfile::tempdir().unwrap();
    let findings = doctor(&scratch.path().join("not/there/yet"));
    // What a machine may lack on which the other tests can run.
    let optional = ["network interfaces (/dev/net/tun)", "limits for all processes together"];
    let failed: Vec<&str> = findings.iter().filter(|f| !f.ok).map(|f| f.name.as_str()).collect();
    let missed: Vec<&str> = failed.into_iter().filter(|name| !optional.contains(name)).collect();
    let identity = scrimp::sandbox::identity::enter().unwrap_or_else(|e| panic!("{e}"));
    let expected: &[&str] = if identity.kind == IdentityKind::Single { &["several user ids"] } else { &[] };
    assert_eq!(missed, expected, "{findings:#?}");
    let rungs: Vec<&str> = findings.iter().map(|f| f.name.as_str()).take(5).collect();
    assert_eq!(rungs, ["sandbox a", "sandbox b", "sandbox c", "sandbox d", "sandbox e"]);
    assert!(findings.iter().all(|f| f.ok != f.hint.is_some()), "{findings:#?}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}
