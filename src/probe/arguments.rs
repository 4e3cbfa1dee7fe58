//! Probes as the command line gives them: `--http`, `--exec`, `--probe`.

use std::path::Path;

use crate::probe::crawl::CrawlStep;
use crate::probe::document::{parse_method, parse_path};
use crate::probe::expect::{ExecExpect, HttpExpect};
use crate::probe::openapi::{OpenapiSource, OpenapiStep};
use crate::probe::shipped::shipped;
use crate::probe::step::{Action, ExecStep, HttpStep, Step};
use crate::probe::{ProbeError, Spec};

impl Spec {
    /// `--http [METHOD:]PATH`: `/cv`, `POST:/api`. An answer below 500 passes.
    pub fn from_http_argument(text: &str) -> Result<Spec, ProbeError> {
        let bad = |message: String, hint| ProbeError::Http { text: text.into(), message, hint };
        if text.contains("://") && !text.starts_with('/') {
            let hint = "the application runs in a network of its own: give the path alone, and the port with --port";
            return Err(bad("a URL is not accepted".into(), hint));
        }
        let hint = "write [METHOD:]PATH, as `/cv` or `POST:/api`";
        let (method, path) = match text.split_once(':') {
            Some((method, path)) if !text.starts_with('/') => (method, path),
            _ => ("GET", text),
        };
        let method = parse_method(method).map_err(|message| bad(message, hint))?;
        let path = parse_path(path).map_err(|message| bad(message, hint))?;
        Ok(alone("--http", Step::new(Action::Http(HttpStep::new(&method, &path)))))
    }

    /// `--exec CMD`: split into words as a shell does it, run without one. Exit code 0 passes.
    pub fn from_exec_argument(text: &str) -> Result<Spec, ProbeError> {
        let bad = |message: &str| ProbeError::Exec { text: text.into(), message: message.into() };
        let argv = shlex::split(text).ok_or_else(|| bad("a quote is not closed, or a backslash ends it"))?;
        if argv.first().is_none_or(String::is_empty) {
            return Err(bad("it names no command"));
        }
        if text.contains('\0') {
            return Err(bad("it holds a NUL byte"));
        }
        let step = ExecStep { argv, user: None, keep: true, expect: ExecExpect::default() };
        Ok(alone("--exec", Step::new(Action::Exec(step))))
    }

    /// `--crawl`, with `--crawl-depth` and `--crawl-pages`: from `/` on.
    pub fn from_crawl_arguments(depth: u32, pages: u32) -> Spec {
        alone("--crawl", Step::new(Action::Crawl(CrawlStep { depth, pages, ..CrawlStep::new() })))
    }

    /// `--openapi FILE|PATH`: what begins with a slash and is no file of the host is where the application has it.
    pub fn from_openapi_argument(text: &str) -> Result<Spec, ProbeError> {
        let file = Path::new(text);
        let step = if text.starts_with('/') && !file.exists() {
            let wrong = |message| ProbeError::Spec {
                file: format!("--openapi {text:?}"),
                line: None,
                message,
                hint: Some("give a file, or the path at which the application has the document".into()),
            };
            OpenapiStep::new(OpenapiSource::Path(parse_path(text).map_err(wrong)?))
        } else {
            OpenapiStep::from_file(file, text)?
        };
        Ok(alone("--openapi", Step::new(Action::Openapi(step))))
    }

    /// `--probe NAME|FILE`: what has a slash in it or ends in `.toml` is a file of the host, all else the name of a
    /// shipped spec.
    pub fn from_probe_argument(text: &str) -> Result<Spec, ProbeError> {
        if text.contains('/') || text.ends_with(".toml") { Spec::read(Path::new(text)) } else { shipped(text) }
    }
}

/// The spec that an option makes of one step; `option` is its name.
pub(super) fn alone(option: &str, step: Step) -> Spec {
    Spec { name: option.into(), description: String::new(), matches: Vec::new(), ready: None, steps: vec![step] }
}

impl HttpStep {
    /// A request without headers or body, at a port still to be found; an answer below 500 passes.
    pub fn new(method: &str, path: &str) -> Self {
        HttpStep {
            port: None,
            method: method.into(),
            path: path.into(),
            host: None,
            headers: Vec::new(),
            body: None,
            made: Vec::new(),
            follow_redirects: false,
            expect: HttpExpect::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::step::names;

    #[test]
    fn arguments_become_steps() {
        type Parse = fn(&str) -> Result<Spec, ProbeError>;
        for (parse, text, name) in [
            (Spec::from_http_argument as Parse, "/cv", "http GET /cv"),
            (Spec::from_http_argument, "post:/api?x=a:b", "http POST /api?x=a:b"),
            (Spec::from_http_argument, "/a:b", "http GET /a:b"),
            (Spec::from_http_argument, "/go?to=http://x/", "http GET /go?to=http://x/"),
            (Spec::from_exec_argument, "redis-cli ping", "exec redis-cli ping"),
            (Spec::from_exec_argument, r#"psql -c "select 1" -U 'a b'"#, "exec psql -c 'select 1' -U 'a b'"),
        ] {
            let spec = parse(text).unwrap();
            assert_eq!(names(&spec.steps), [[name]], "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        type Parse = fn(&str) -> Result<Spec, ProbeError>;
        for (parse, text, expected) in [
            (
                Spec::from_http_argument as Parse,
                "http://localhost/x",
                "--http \"http://localhost/x\": a URL is not accepted\nhint: the application runs in a network of its own: \
                 give the path alone, and the port with --port",
            ),
            (
                Spec::from_http_argument,
                "cv",
                "--http \"cv\": the path \"cv\" does not begin with a slash\nhint: write [METHOD:]PATH, as `/cv` or `POST:/api`",
            ),
            (
                Spec::from_http_argument,
                "8080:/x",
                "--http \"8080:/x\": \"8080\" is no HTTP method\nhint: write [METHOD:]PATH, as `/cv` or `POST:/api`",
            ),
            (
                Spec::from_exec_argument,
                "echo 'a",
                "--exec \"echo 'a\": a quote is not closed, or a backslash ends it\nhint: the words are split as a shell \
                 does it, but no shell runs them; for one write `sh -c '...'`",
            ),
            (
                Spec::from_exec_argument,
                "  ",
                "--exec \"  \": it names no command\nhint: the words are split as a shell does it, but no shell runs them; \
                 for one write `sh -c '...'`",
            ),
            (
                Spec::from_probe_argument,
                "./none.toml",
                "cannot read the probe spec ./none.toml: No such file or directory (os error 2)\n\
                 hint: a relative path begins in the current directory, and one in a file beside that file; is it misspelt?",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
        assert_eq!(Spec::from_probe_argument("nginx").unwrap().name, "nginx");
    }
}
