//! Where applications are put: the directories that many share, those in which nothing is an application's own, and
//! what is nobody's though it lies in an application's directory. The lists are of names that distributions, runtimes
//! and version control give, never of a single application's.

use crate::base::ImagePath;

/// Directories that many share (Filesystem Hierarchy Standard 3.0, and what image builders made a habit of): never an
/// application's as a whole, but a directory in one of them may be.
const SHARED: [&str; 27] = [
    "/",
    "/etc",
    "/export",
    "/go",
    "/go/src",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/opt/bitnami",
    "/srv",
    "/usr",
    "/usr/local",
    "/usr/local/etc",
    "/usr/local/share",
    "/usr/local/src",
    "/usr/local/var",
    "/usr/local/www",
    "/usr/share",
    "/usr/src",
    "/var",
    "/var/lib",
    "/var/local",
    "/var/opt",
    "/var/vcap",
    "/volume",
    "/volumes",
];

/// The one of these that is for the data of services.
pub(super) const SERVICES: &str = "/srv";

/// Of these, the ones that distributions fill: whose a directory in them is only a package database can tell.
const OF_DISTRIBUTIONS: [&str; 3] = ["/etc", "/usr/share", "/var/lib"];

/// Nothing below these is an application's own: programs and libraries of the system and of what was installed beside
/// it, its configuration and data, what is made anew at each start, caches, and the stores of package managers.
const NEVER: [&str; 87] = [
    "/bin",
    "/boot",
    "/cnb",
    "/dev",
    "/etc/X11",
    "/etc/alternatives",
    "/etc/apk",
    "/etc/apt",
    "/etc/ca-certificates",
    "/etc/cron.d",
    "/etc/default",
    "/etc/dpkg",
    "/etc/fonts",
    "/etc/init.d",
    "/etc/ld.so.conf.d",
    "/etc/logrotate.d",
    "/etc/pam.d",
    "/etc/pki",
    "/etc/profile.d",
    "/etc/python3",
    "/etc/rc.d",
    "/etc/security",
    "/etc/selinux",
    "/etc/skel",
    "/etc/ssl",
    "/etc/systemd",
    "/gnu",
    "/go/pkg",
    "/layers",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/lost+found",
    "/nix",
    "/proc",
    "/run",
    "/sbin",
    "/snap",
    "/sys",
    "/tmp",
    "/usr/bin",
    "/usr/games",
    "/usr/include",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/libx32",
    "/usr/local/bin",
    "/usr/local/bundle",
    "/usr/local/cargo",
    "/usr/local/games",
    "/usr/local/include",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/local/libexec",
    "/usr/local/man",
    "/usr/local/rustup",
    "/usr/local/sbin",
    "/usr/local/share/ca-certificates",
    "/usr/local/share/fonts",
    "/usr/local/share/locale",
    "/usr/local/share/man",
    "/usr/sbin",
    "/usr/share/ca-certificates",
    "/usr/share/doc",
    "/usr/share/fonts",
    "/usr/share/glib-2.0",
    "/usr/share/i18n",
    "/usr/share/icons",
    "/usr/share/info",
    "/usr/share/locale",
    "/usr/share/man",
    "/usr/share/mime",
    "/usr/share/pki",
    "/usr/share/terminfo",
    "/usr/share/zoneinfo",
    "/var/backups",
    "/var/cache",
    "/var/empty",
    "/var/lock",
    "/var/log",
    "/var/mail",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];

/// What the system knows about itself, below `/var/lib`.
const SYSTEM_STATE: [&str; 13] = [
    "alternatives",
    "apk",
    "apt",
    "ca-certificates",
    "dbus",
    "dnf",
    "dpkg",
    "gems",
    "misc",
    "pam",
    "rpm",
    "systemd",
    "ucf",
];

/// What a web server serves lies in directories of these names, also in those of the server's package.
const SERVED: [&[u8]; 5] = [b"htdocs", b"html", b"public_html", b"webroot", b"wwwroot"];

/// Directories in which package managers of languages keep what they install; what is used of it is kept, and level
/// `package` keeps it all.
const PACKAGES: [&[u8]; 8] = [
    b"bower_components",
    b"dist-packages",
    b"jspm_packages",
    b"node_modules",
    b".eggs",
    b"site-packages",
    b".bundle",
    b".pnpm-store",
];

/// Directories of these names hold what no run needs: version control, caches of tools, settings of editors, and keys
/// of the person who built the image.
const NOBODYS_DIRECTORIES: [&[u8]; 34] = [
    b".aws",
    b".azure",
    b".bzr",
    b".cache",
    b".docker",
    b".git",
    b".github",
    b".gitlab",
    b".gnupg",
    b".gradle",
    b".hg",
    b".hypothesis",
    b".idea",
    b".ipynb_checkpoints",
    b".kube",
    b".m2",
    b".mypy_cache",
    b".nox",
    b".npm",
    b".nyc_output",
    b".parcel-cache",
    b".pytest_cache",
    b".ruff_cache",
    b".sass-cache",
    b".ssh",
    b".svn",
    b".terraform",
    b".tox",
    b".turbo",
    b".vagrant",
    b".vscode",
    b"CVS",
    b"_darcs",
    b"lost+found",
];

/// Files of these names, likewise.
const NOBODYS_FILES: [&[u8]; 15] = [
    b".DS_Store",
    b".bash_history",
    b".dockerignore",
    b".git",
    b".git-credentials",
    b".gitattributes",
    b".gitignore",
    b".gitmodules",
    b".lesshst",
    b".mysql_history",
    b".netrc",
    b".node_repl_history",
    b".psql_history",
    b".python_history",
    b".wget-hsts",
];

/// Whether `directory` is one that many share.
pub(super) fn is_shared(directory: &ImagePath) -> bool {
    SHARED.iter().any(|&shared| directory.as_bytes() == shared.as_bytes())
}

/// Whether a directory directly in `directory` is an application's only where a package database shows that it is not
/// the distribution's.
pub(super) fn is_of_distributions(directory: &ImagePath) -> bool {
    OF_DISTRIBUTIONS.iter().any(|&shared| directory.as_bytes() == shared.as_bytes())
}

/// Whether nothing in `directory` and below is an application's own.
pub(super) fn is_never(directory: &ImagePath) -> bool {
    let text = directory.as_bytes();
    let is_system_state = || {
        let name = text.strip_prefix(b"/var/lib/").filter(|name| !name.contains(&b'/'));
        name.is_some_and(|name| SYSTEM_STATE.iter().any(|&system| name == system.as_bytes()))
    };
    NEVER.iter().any(|&never| text == never.as_bytes()) || is_system_state()
}

/// Whether `directory` is somebody's home: `/root`, or directly in `/home`.
pub(super) fn is_home(directory: &ImagePath) -> bool {
    directory.as_bytes() == b"/root" || directory.parent().is_some_and(|parent| parent.as_bytes() == b"/home")
}

/// Whether what lies in `directory` is for visitors.
pub(super) fn is_served(directory: &ImagePath) -> bool {
    directory.file_name().is_some_and(|name| SERVED.contains(&name))
}

/// Whether a package manager of a language keeps what it installs in `directory`.
pub(super) fn holds_packages(directory: &ImagePath) -> bool {
    let Some(name) = directory.file_name() else { return false };
    // What Bundler installs and what it got, and no other `vendor`.
    let in_vendor = || directory.parent().is_some_and(|parent| parent.file_name() == Some(b"vendor"));
    PACKAGES.contains(&name) || matches!(name, b"bundle" | b"cache") && in_vendor()
}

/// Whether no run needs what is called `name`.
pub(super) fn is_nobodys(name: &[u8], is_dir: bool) -> bool {
    let names: &[&[u8]] = if is_dir { &NOBODYS_DIRECTORIES } else { &NOBODYS_FILES };
    names.contains(&name)
}
