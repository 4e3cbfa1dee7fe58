//! Every environment variable that scrimp reads, or sets for programs of the caller's, in one place.

/// Where unpacked images and staged results live; the default is `scrimp` in the user's cache directory.
pub const STORE: &str = "SCRIMP_STORE";
/// The settings of a project, as `--config`. Each flag of `slim`, `trace`, `build` and `verify` that takes one value,
/// or none, has a variable: `SCRIMP_` and its name in upper case with underscores, as `SCRIMP_TIMEOUT` and
/// `SCRIMP_NO_VERIFY`.
pub const CONFIG: &str = "SCRIMP_CONFIG";
/// What the variables of flags begin with.
pub const PREFIX: &str = "SCRIMP_";
/// The time that is written instead of the base's, in seconds since 1970 (reproducible-builds.org).
pub const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";
/// The user's cache directory (XDG Base Directory Specification).
pub const XDG_CACHE_HOME: &str = "XDG_CACHE_HOME";
/// What kind of terminal it is (terminfo).
pub const TERM: &str = "TERM";
/// The user's home directory.
pub const HOME: &str = "HOME";
/// Set by podman for what runs in its user namespace.
pub const PODMAN_USER_NAMESPACE: &str = "_CONTAINERS_USERNS_CONFIGURED";

/// Set for scripts: where the application answers, `http://HOST:PORT`.
pub const URL: &str = "SCRIMP_URL";
/// Set for scripts: the address at which the application answers.
pub const APPLICATION_HOST: &str = "SCRIMP_HOST";
/// Set for scripts: the port on which it listens.
pub const APPLICATION_PORT: &str = "SCRIMP_PORT";
