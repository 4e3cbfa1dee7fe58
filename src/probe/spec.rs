//! Probe specs: TOML files that say how an application is exercised. The format is described for users in
//! `docs/probes.md`; `document` reads it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::ImagePath;
use crate::probe::ProbeError;
use crate::probe::document;
use crate::probe::expect::Pattern;
use crate::probe::step::{Action, Step};

/// How long an application may take to become ready when nothing else is said.
pub const DEFAULT_READY_TIMEOUT: Duration = Duration::from_secs(30);

/// A probe spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// By which messages call it.
    pub name: String,
    /// One sentence about what it does.
    pub description: String,
    /// The executables it is made for; a glob without a slash is matched against the last component only.
    pub matches: Vec<Pattern>,
    /// When the application is ready for the steps; `None` for the default.
    pub ready: Option<Ready>,
    /// What is done, in this order.
    pub steps: Vec<Step>,
}

/// When an application is ready: it listens, and the step passes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    /// For both.
    pub timeout: Duration,
    /// The TCP port that must listen; `None` for those that the steps need.
    pub port: Option<u16>,
    /// Tried until it passes.
    pub step: Option<Step>,
    /// Whether nobody asked for it, so that it holds the steps up and no more: that it does not pass is a note then.
    #[serde(default)]
    pub advisory: bool,
}

impl Ready {
    /// Reads such a table of the TOML document `text`, which is in `file`; a `body_file` is looked up from `directory`.
    pub fn parse(
        table: toml::Spanned<toml::de::DeValue<'_>>,
        text: &str,
        file: &str,
        directory: &Path,
    ) -> Result<Ready, ProbeError> {
        document::parse_ready(table, text, file, directory)
    }
}

impl Spec {
    /// Parses a spec. `file` is its name for messages; a `body_file` is looked up from `directory`.
    pub fn parse(text: &str, file: &str, directory: &Path) -> Result<Spec, ProbeError> {
        document::parse(text, file, directory)
    }

    /// Reads the spec in the file at `path` of the host.
    pub fn read(path: &Path) -> Result<Spec, ProbeError> {
        let text = fs::read_to_string(path);
        let text = text.map_err(|cause| ProbeError::Read { what: "the probe spec", path: path.into(), cause })?;
        Spec::parse(&text, &path.display().to_string(), path.parent().unwrap_or(Path::new("")))
    }

    /// A command of it whose files are not the application's (`keep = false`), by the name of its step.
    pub fn observer(&self) -> Option<String> {
        let ready = self.ready.iter().filter_map(|ready| ready.step.as_ref());
        let observes = |step: &&Step| matches!(&step.action, Action::Exec(exec) if !exec.keep);
        self.steps.iter().chain(ready).find(observes).map(|step| step.describe(false))
    }

    /// Whether the spec is made for `executable`.
    pub fn fits(&self, executable: &ImagePath) -> bool {
        let path = executable.to_string();
        let name = path.rsplit('/').next().unwrap_or_default();
        self.matches.iter().any(|glob| {
            let whole = glob.to_string().contains('/');
            glob.matches(if whole { &path } else { name })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;
    use crate::probe::step::{Action, Secret};

    fn parse(text: &str) -> Result<Spec, ProbeError> {
        Spec::parse(text, "app.toml", Path::new(""))
    }

    fn error(text: &str) -> String {
        parse(text).unwrap_err().to_string()
    }

    #[test]
    fn every_field_is_read() {
        let spec = parse(
            r#"
            name = "shop"
            description = "All of it."
            match = ["shop", "/opt/*/bin/shopd"]

            [ready]
            timeout_seconds = 90
            port = 8080
            step = { kind = "http", path = "/up" }

            [[step]]
            kind = "http"
            name = "order"
            port = 8080
            method = "post"
            path = "/orders?x=1"
            host = "shop.example"
            headers = { X-Token = "t" }
            body = '{"n":1}\n'
            follow_redirects = true
            timeout_seconds = 2.5
            repeat = 3
            ignore = ["header:X-Request-Id", "body"]
            [step.expect]
            status = [200, "3xx"]
            header = { Content-Type = "application/*" }
            body_contains = "id"

            [[step]]
            kind = "tcp"
            send = 'PING\r\n'
            expect = { contains = '\xff', matches = "^a" }

            [[step]]
            kind = "udp"
            send_hex = "00 ff"
            answer = false

            [[step]]
            kind = "exec"
            shell = "a | b"
            user = "root"
            keep = false
            expect = { exit = 2, stdout = "x", stdout_contains = "x" }
            "#,
        )
        .unwrap();
        assert_eq!((spec.name.as_str(), spec.steps.len()), ("shop", 4));
        let ready = spec.ready.as_ref().unwrap();
        assert_eq!((ready.timeout, ready.port), (Duration::from_secs(90), Some(8080)));
        let Action::Http(http) = &spec.steps[0].action else { panic!() };
        assert_eq!((http.method.as_str(), http.path.as_str(), http.port), ("POST", "/orders?x=1", Some(8080)));
        assert_eq!(http.body, Some(Secret(br#"{"n":1}\n"#.to_vec())), "a body has no escapes of its own");
        assert_eq!(http.expect.status.to_string(), "status 200 or 3xx");
        assert_eq!(spec.steps[0].timeout, Duration::from_millis(2500));
        assert_eq!(spec.steps[0].ignore, ["header:x-request-id", "body"]);
        let Action::Tcp(tcp) = &spec.steps[1].action else { panic!() };
        let [exchange] = &tcp.dialogue[..] else { panic!() };
        assert_eq!((&exchange.send, &exchange.expect.contains), (&Some("PING\r\n".into()), &Some(vec![0xff])));
        let Action::Udp(udp) = &spec.steps[2].action else { panic!() };
        assert_eq!((&udp.send, udp.answer), (&Secret(vec![0, 255]), false));
        let Action::Exec(exec) = &spec.steps[3].action else { panic!() };
        assert_eq!(exec.argv, ["/bin/sh", "-c", "a | b"]);
        assert!(!exec.keep && exec.expect.exit == 2);
        for (executable, fits) in [("/usr/bin/shop", true), ("/opt/x/bin/shopd", true), ("/opt/shop/run", false)] {
            assert_eq!(spec.fits(&ImagePath::parse(executable).unwrap()), fits, "{executable}");
        }
    }

    #[test]
    fn little_is_needed() {
        let spec = parse("[[step]]\nkind = 'http'").unwrap();
        assert_eq!((spec.name.as_str(), spec.ready), ("app", None));
        let Action::Http(http) = &spec.steps[0].action else { panic!() };
        assert_eq!((http.method.as_str(), http.path.as_str()), ("GET", "/"));
    }

    #[test]
    fn mistakes_have_a_line_and_a_hint() {
        let tcp_fields =
            "\nhint: it has port, send, send_hex, until, dialogue, half_close, expect.contains, expect.matches";
        for (text, expected) in [
            (
                "name = 'x'\n",
                "app.toml: it has no steps\nhint: add a table [[step]] with a kind, as kind = \"http\" or kind = \"exec\""
                    .to_string(),
            ),
            (
                "[[step]]\npath = '/'",
                "app.toml:1: the step has no kind\nhint: kind = \"http\", \"tcp\", \"udp\", \"exec\", \"script\", \"crawl\", \"openapi\", \"websocket\" or \"grpc\"".into(),
            ),
            (
                "\n[[step]]\nkind = 'tcp'\n\npath = '/'",
                format!("app.toml:5: a step of kind tcp has no field path{tcp_fields}"),
            ),
            (
                "[[step]]\nkind = 'tcp'\nexpect = { status = 200 }",
                format!("app.toml:3: a step of kind tcp has no field expect.status{tcp_fields}"),
            ),
            (
                "[[step]]\nkind = 'http'\nignore = ['body',\n 'stdout']",
                "app.toml:4: the answer to a step of kind http has no part \"stdout\"\nhint: it has status, headers, header:NAME, body, json:PATH, regex:PATTERN"
                    .into(),
            ),
            ("[[step]]\nkind = 'http'\npath = 'x'", "app.toml:3: the path \"x\" does not begin with a slash".into()),
            ("[[step]]\nkind = 'http'\nmethod = 'G T'", "app.toml:3: \"G T\" is no HTTP method".into()),
            (
                "[[step]]\nkind = 'http'\nheaders = { 'a b' = '' }",
                "app.toml:3: \"a b\" is no name of a header".into(),
            ),
            (
                "[[step]]\nkind = 'http'\nheaders = { a = \"hunter22\\n\" }",
                "app.toml:3: the value of the header a holds a control character".into(),
            ),
            (
                "[[step]]\nkind = 'http'\nbody = ''\nbody_file = 'x'",
                "app.toml:4: a request has either body or body_file".into(),
            ),
            (
                "[[step]]\nkind = 'http'\nbody_file = 'none'",
                "cannot read the request body none: No such file or directory (os error 2)\n\
                 hint: a relative path begins in the current directory, and one in a file beside that file; is it misspelt?"
                    .into(),
            ),
            (
                "[[step]]\nkind = 'http'\nexpect = { status = 'ok' }",
                "app.toml:3: \"ok\" is no status: expected a code as 200, a class as \"2xx\", \"<500\" or \"any\"".into(),
            ),
            (
                "[[step]]\nkind = 'http'\nexpect = { body_digest = 'abc' }",
                "app.toml:3: \"abc\" is not a digest: expected 'sha256:' and 64 lower-case hexadecimal digits".into(),
            ),
            ("[[step]]\nkind = 'tcp'\nport = 0", "app.toml:3: 0 is no port".into()),
            ("[[step]]\nkind = 'tcp'\nsend = 'a\\q'", "app.toml:3: \\q at character 2 is no escape".into()),
            (
                "[[step]]\nkind = 'tcp'\nsend = 'a'\nsend_hex = '00'",
                "app.toml:4: a step has either send or send_hex".into(),
            ),
            (
                "[[step]]\nkind = 'tcp'\ntimeout_seconds = 0",
                "app.toml:3: a timeout is a number of seconds above 0, a day at most, not 0".into(),
            ),
            ("[[step]]\nkind = 'tcp'\nrepeat = 0", "app.toml:3: a step is repeated 1 to 10000 times, not 0".into()),
            (
                "[[step]]\nkind = 'tcp'\nsend = 'a'\ndialogue = [{ send = 'a' }]",
                "app.toml:4: a step has either a dialogue, or send, until and expect of its own".into(),
            ),
            (
                "[[step]]\nkind = 'tcp'\ndialogue = []",
                "app.toml:3: the dialogue is empty\nhint: dialogue = [{ send = 'HELO x\\r\\n', until = '\\n' }, { send = 'QUIT\\r\\n' }]"
                    .into(),
            ),
            (
                "[[step]]\nkind = 'tcp'\ndialogue = [{ send = 'a', expect = { exit = 1 } }]",
                "app.toml:3: a turn of a dialogue has no field expect.exit\nhint: it has expect.contains, expect.matches".into(),
            ),
            (
                "[[step]]\nkind = 'script'\nshell = 'a'\nargs = ['b']",
                "app.toml:1: a script step has either a file, to which args may be given, or a line for the shell\n\
                 hint: file = \"check.sh\", or shell = \"make check\""
                    .into(),
            ),
            (
                "[[step]]\nkind = 'script'\n\nfile = 'none.sh'",
                "app.toml:4: file \"none.sh\": cannot read it: No such file or directory (os error 2)\n\
                 hint: give the path of an executable on this machine"
                    .into(),
            ),
            ("[[step]]\nkind = 'udp'", "app.toml:1: a step of kind udp needs send or send_hex".into()),
            (
                "[[step]]\nkind = 'udp'\nsend = ''\nanswer = false\nexpect = { contains = 'x' }",
                "app.toml:1: a step with answer = false expects nothing".into(),
            ),
            (
                "[[step]]\nkind = 'exec'\nargv = ['a']\nshell = 'a'",
                "app.toml:1: a step of kind exec needs argv or shell, and only one of them".into(),
            ),
            ("[[step]]\nkind = 'exec'\nargv = []", "app.toml:1: argv names no command".into()),
        ] {
            assert_eq!(error(text), expected, "{text}");
        }
    }

    #[test]
    fn the_kinds_of_the_web_are_read() {
        let spec = parse(
            r#"
            [[step]]
            kind = "crawl"
            path = "/shop/"
            depth = 1
            pages = 20
            skip = ["/shop/events*"]
            headers = { Authorization = "Bearer t" }
            ignore = ["json:$..time", "regex:nonce=[a-z]+", "header:X-Id"]

            [[step]]
            kind = "openapi"
            path = "/openapi.json"

            [[step]]
            kind = "websocket"
            path = "/ws"
            protocols = ["chat"]
            messages = [{ contains = "hello" }, { send = "a" }, { send_hex = "00" }, { matches = "^b" }]

            [[step]]
            kind = "grpc"
            call = "/a.B/C"
            send_hex = "08 01"
            expect = { code = 3, contains = "x" }
            "#,
        )
        .unwrap();
        let Action::Crawl(crawl) = &spec.steps[0].action else { panic!() };
        assert_eq!((crawl.path.as_str(), crawl.depth, crawl.pages, crawl.skip.len()), ("/shop/", 1, 20, 1));
        assert_eq!(spec.steps[0].ignore, ["json:$..time", "regex:nonce=[a-z]+", "header:x-id"]);
        assert!(spec.steps[0].secrets().contains(&b"Bearer t".to_vec()));
        let Action::Openapi(openapi) = &spec.steps[1].action else { panic!() };
        assert_eq!(openapi.source.to_string(), "/openapi.json");
        let Action::Websocket(socket) = &spec.steps[2].action else { panic!() };
        assert_eq!((socket.messages.len(), socket.protocols.as_slice()), (4, &["chat".to_owned()][..]));
        let Action::Grpc(call) = &spec.steps[3].action else { panic!() };
        assert_eq!((call.call.to_string().as_str(), &call.message.0[..], call.expect.code), ("/a.B/C", &[8, 1][..], 3));
    }

    #[test]
    fn mistakes_in_the_kinds_of_the_web_are_told() {
        for (text, expected) in [
            ("[[step]]\nkind = 'crawl'\npages = 0", "app.toml:3: a crawl makes 1 to 100000 requests, not 0"),
            ("[[step]]\nkind = 'crawl'\nskip = [\n'a[']", "app.toml:4: \"a[\" is no glob"),
            ("[[step]]\nkind = 'crawl'\nbody = ''", "app.toml:3: a step of kind crawl has no field body"),
            ("[[step]]\nkind = 'openapi'", "app.toml:1: a step of kind openapi needs path or file, and only one"),
            ("[[step]]\nkind = 'openapi'\nfile = '/none'", "cannot read the OpenAPI document /none: No such file"),
            ("[[step]]\nkind = 'websocket'\nmessages = [{}]", "app.toml:3: a message is either sent or expected"),
            ("[[step]]\nkind = 'websocket'\nmessages = [{ say = '' }]", "app.toml:3: unknown field `say`"),
            ("[[step]]\nkind = 'websocket'\nprotocols = ['a b']", "app.toml:3: \"a b\" is no name of a subprotocol"),
            ("[[step]]\nkind = 'grpc'\ncall = 'check'", "app.toml:3: \"check\" is no call: expected \"health\""),
            ("[[step]]\nkind = 'grpc'\nsend = ''", "app.toml:1: the call health sends no message of yours\nhint: "),
            (
                "[[step]]\nkind = 'grpc'\ncall = 'reflection'\nservice = 'x'",
                "app.toml:4: the call reflection is about no",
            ),
            ("[[step]]\nkind = 'http'\nignore = ['json:a']", "app.toml:3: \"a\" is no path into JSON: it does not"),
            ("[[step]]\nkind = 'tcp'\nignore = ['regex:(']", "app.toml:3: \"(\" is no regular expression"),
            (
                "[ready]\nstep = { kind = 'crawl' }\n[[step]]\nkind = 'tcp'",
                "app.toml:2: a step of kind crawl stands for many",
            ),
        ] {
            assert!(error(text).starts_with(expected), "{text}: {}", error(text));
        }
    }

    #[test]
    fn mistakes_in_the_grammar_have_a_line() {
        for (text, begin) in [
            ("[[step]]\nkind = 'http'\npaht = '/'", "app.toml:3: unknown field `paht`"),
            ("[[step]]\nkind = 'smtp'", "app.toml:2: unknown variant `smtp`, expected one of `http`"),
            ("[[step]]\nkind = 'http'\nrepeat = 'x'", "app.toml:3: invalid type: string \"x\", expected u32"),
            ("[[step]]\nkind = 'tcp'\nport = 99999", "app.toml:3: "),
            ("a = \n", "app.toml:1: "),
            ("match = ['a[']\n[[step]]\nkind = 'tcp'", "app.toml:1: \"a[\" is no glob"),
            ("[[step]]\nkind = 'tcp'\nexpect = { matches = 'a(' }", "app.toml:3: \"a(\" is no regular expression"),
            ("[redy]\n[[step]]\nkind = 'tcp'", "app.toml:1: unknown field `redy`"),
        ] {
            assert!(error(text).starts_with(begin), "{}", error(text));
        }
    }

    #[test]
    fn a_body_file_lies_beside_the_spec() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.toml");
        fs::write(dir.path().join("order.bin"), b"\x00\xff").unwrap();
        let digest = Digest::of(b"x");
        let text = format!("[[step]]\nkind = 'http'\nbody_file = 'order.bin'\nexpect = {{ body_digest = '{digest}' }}");
        fs::write(&path, text).unwrap();
        let spec = Spec::from_probe_argument(path.to_str().unwrap()).unwrap();
        let Action::Http(http) = &spec.steps[0].action else { panic!() };
        assert_eq!((spec.name.as_str(), &http.body), ("shop", &Some(Secret(vec![0, 255]))));
        assert_eq!(http.expect.body_digest, Some(digest));
    }
}
