//! The tables of a spec, in which every field knows where it stands, and which fields a step of a kind has.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::probe::expect::StatusSet;
use crate::probe::script;
use crate::probe::step::DEFAULT_TIMEOUT;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpecDocument {
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default, rename = "match")]
    pub(super) matches: Vec<Spanned<String>>,
    pub(super) ready: Option<ReadyDocument>,
    #[serde(default)]
    pub(super) step: Vec<Spanned<StepDocument>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadyDocument {
    pub(super) timeout_seconds: Option<Spanned<f64>>,
    pub(super) port: Option<Spanned<u16>>,
    pub(super) step: Option<Spanned<StepDocument>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Http,
    Tcp,
    Udp,
    Exec,
    Script,
    Crawl,
    Openapi,
    Websocket,
    Grpc,
}

/// Defines a table whose fields are all optional and know their place, and a list of those that are given.
macro_rules! flat_table {
    ($name:ident, $prefix:literal { $($field:ident: $type:ty,)* }) => {
        #[derive(Deserialize, Default)]
        #[serde(deny_unknown_fields)]
        pub(super) struct $name {
            $(pub(super) $field: Option<Spanned<$type>>,)*
        }

        impl $name {
            pub(super) fn given(&self) -> Vec<(&'static str, Range<usize>)> {
                let fields = [$((concat!($prefix, stringify!($field)), self.$field.as_ref().map(Spanned::span)),)*];
                fields.into_iter().filter_map(|(name, span)| Some((name, span?))).collect()
            }
        }
    };
}

flat_table!(StepDocument, "" {
    kind: Kind,
    name: String,
    timeout_seconds: f64,
    repeat: u32,
    ignore: Vec<Spanned<String>>,
    port: u16,
    method: String,
    path: String,
    host: String,
    headers: BTreeMap<String, String>,
    body: String,
    body_file: String,
    follow_redirects: bool,
    send: String,
    send_hex: String,
    answer: bool,
    until: String,
    dialogue: Vec<Spanned<ExchangeDocument>>,
    half_close: bool,
    argv: Vec<String>,
    shell: String,
    user: String,
    keep: bool,
    args: Vec<String>,
    depth: u32,
    pages: u32,
    skip: Vec<Spanned<String>>,
    file: String,
    protocols: Vec<String>,
    messages: Vec<Spanned<TurnDocument>>,
    call: String,
    service: String,
    expect: ExpectDocument,
});

/// A turn of a dialogue, whose fields are all its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExchangeDocument {
    pub(super) send: Option<Spanned<String>>,
    pub(super) send_hex: Option<Spanned<String>>,
    pub(super) until: Option<Spanned<String>>,
    pub(super) expect: Option<Spanned<ExpectDocument>>,
    #[serde(default)]
    pub(super) may_end: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TurnDocument {
    pub(super) send: Option<Spanned<String>>,
    pub(super) send_hex: Option<Spanned<String>>,
    pub(super) contains: Option<Spanned<String>>,
    pub(super) matches: Option<Spanned<String>>,
}

flat_table!(ExpectDocument, "expect." {
    status: StatusSet,
    header: BTreeMap<String, String>,
    body_contains: String,
    body_digest: String,
    contains: String,
    matches: String,
    code: u32,
    exit: i32,
    stdout: String,
    stdout_contains: String,
    stdout_digest: String,
});

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Http => "http",
            Kind::Tcp => "tcp",
            Kind::Udp => "udp",
            Kind::Exec => "exec",
            Kind::Script => "script",
            Kind::Crawl => "crawl",
            Kind::Openapi => "openapi",
            Kind::Websocket => "websocket",
            Kind::Grpc => "grpc",
        }
    }

    /// The fields that only steps of this kind have, or share with others.
    pub(super) fn fields(self) -> &'static [&'static str] {
        match self {
            Kind::Http => &[
                "port",
                "method",
                "path",
                "host",
                "headers",
                "body",
                "body_file",
                "follow_redirects",
                "expect.status",
                "expect.header",
                "expect.body_contains",
                "expect.body_digest",
            ],
            Kind::Tcp => {
                &["port", "send", "send_hex", "until", "dialogue", "half_close", "expect.contains", "expect.matches"]
            }
            Kind::Udp => &["port", "send", "send_hex", "answer", "expect.contains", "expect.matches"],
            Kind::Script => &[
                "port",
                "file",
                "args",
                "shell",
                "expect.exit",
                "expect.stdout",
                "expect.stdout_contains",
                "expect.stdout_digest",
            ],
            Kind::Exec => &[
                "argv",
                "shell",
                "user",
                "keep",
                "expect.exit",
                "expect.stdout",
                "expect.stdout_contains",
                "expect.stdout_digest",
            ],
            Kind::Crawl => &["port", "path", "host", "headers", "depth", "pages", "skip"],
            Kind::Openapi => &["port", "path", "file", "host", "headers"],
            Kind::Websocket => &["port", "path", "host", "headers", "protocols", "messages"],
            Kind::Grpc => &[
                "port",
                "call",
                "service",
                "send",
                "send_hex",
                "host",
                "headers",
                "expect.code",
                "expect.contains",
                "expect.matches",
            ],
        }
    }

    pub(super) fn timeout(self) -> Duration {
        match self {
            Kind::Script => script::SCRIPT_TIMEOUT,
            _ => DEFAULT_TIMEOUT,
        }
    }

    pub(super) fn ignorable(self) -> &'static [&'static str] {
        match self {
            Kind::Http | Kind::Crawl | Kind::Openapi => {
                &["status", "headers", "header:NAME", "body", "json:PATH", "regex:PATTERN"]
            }
            Kind::Websocket | Kind::Grpc => &["messages", "detail", "json:PATH", "regex:PATTERN"],
            Kind::Tcp | Kind::Udp => &["bytes", "json:PATH", "regex:PATTERN"],
            Kind::Exec => &["stdout", "stderr", "json:PATH", "regex:PATTERN"],
            Kind::Script => &["stdout", "json:PATH", "regex:PATTERN"],
        }
    }
}

/// The fields that steps of every kind have.
pub(super) const COMMON_FIELDS: [&str; 6] = ["kind", "name", "timeout_seconds", "repeat", "ignore", "expect"];
