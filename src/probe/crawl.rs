//! The crawl: from one page to all that it leads to on the same host, breadth first and in the order of the documents.
//!
//! It happens once, on the base. Each request is a plain http step from then on: the small image is asked exactly the
//! same, whatever its pages lead to.

use std::collections::{BTreeSet, VecDeque};

use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::observation::Answer;
use crate::probe::expect::{HttpExpect, Pattern};
use crate::probe::links::{self, Link, Reach};
use crate::probe::run::Outcome;
use crate::probe::step::{Action, HttpStep, Secret, Step};

/// How far a crawl goes when nothing else is said, in links from the first page.
pub const DEFAULT_DEPTH: u32 = 3;

/// How many requests it makes when nothing else is said.
pub const DEFAULT_PAGES: u32 = 500;

/// Addresses that are longer are not asked for, in bytes: servers refuse them, and relative links to nowhere grow
/// without end.
const LONGEST: usize = 2000;

/// Words between separators in a path or a query that say that a request ends something.
const ENDINGS: [&str; 6] = ["logout", "logoff", "signout", "signoff", "shutdown", "unsubscribe"];

/// How many addresses a note names.
const NAMED: usize = 5;

/// How many addresses are remembered beyond those that are asked for: pages can name any number.
const MOST_LEFT: usize = 1000;

/// Where a crawl begins and how far it goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CrawlStep {
    /// `None` until the plan is resolved.
    pub port: Option<u16>,
    /// The first page, with its query.
    pub path: String,
    /// The Host header, where it is not the address.
    pub host: Option<String>,
    /// Further headers of every request.
    pub headers: Vec<(String, Secret)>,
    /// How many links away from the first page. What a page shows by itself (images, styles, scripts) is as near as the
    /// page.
    pub depth: u32,
    /// How many requests at most.
    pub pages: u32,
    /// Paths, with their queries, that are not asked for.
    pub skip: Vec<Pattern>,
}

impl CrawlStep {
    /// A crawl from the start page, as far as the defaults go.
    pub fn new() -> Self {
        CrawlStep {
            port: None,
            path: "/".into(),
            host: None,
            headers: Vec::new(),
            depth: DEFAULT_DEPTH,
            pages: DEFAULT_PAGES,
            skip: Vec::new(),
        }
    }
}

impl Default for CrawlStep {
    fn default() -> Self {
        Self::new()
    }
}

/// A crawl under way.
pub(super) struct Crawl<'a> {
    step: &'a CrawlStep,
    /// What the steps take over from the crawl: time limit, what is ignored.
    like: &'a Step,
    base: Option<Url>,
    todo: VecDeque<Page>,
    seen: BTreeSet<String>,
    asked: u32,
    /// What is in the way of an address: `/a (404, on /)`.
    absent: Vec<String>,
    skipped: BTreeSet<String>,
}

/// An address to ask for.
struct Page {
    path: String,
    depth: u32,
    /// The page that led there.
    from: Option<String>,
}

impl<'a> Crawl<'a> {
    /// A crawl as `step` says, whose port is known; `like` is the step that it belongs to.
    pub(super) fn new(step: &'a CrawlStep, like: &'a Step) -> Self {
        let authority = match &step.host {
            Some(host) => host.clone(),
            None => format!("localhost:{}", step.port.unwrap_or(80)),
        };
        let mut crawl = Crawl {
            step,
            like,
            base: Url::parse(&format!("http://{authority}{}", step.path)).ok(),
            todo: VecDeque::new(),
            seen: BTreeSet::new(),
            asked: 0,
            absent: Vec::new(),
            skipped: BTreeSet::new(),
        };
        let path = crawl.base.as_ref().map_or_else(|| step.path.clone(), path_of);
        crawl.seen.insert(path.clone());
        crawl.todo.push_back(Page { path, depth: 0, from: None });
        crawl
    }

    /// The next request, and what is known of it; `None` at the end.
    pub(super) fn next(&mut self) -> Option<(Step, Visit)> {
        if self.asked == self.step.pages {
            return None;
        }
        let page = self.todo.pop_front()?;
        self.asked += 1;
        let request = HttpStep {
            port: self.step.port,
            host: self.step.host.clone(),
            headers: self.step.headers.clone(),
            expect: HttpExpect::default(),
            ..HttpStep::new("GET", &page.path)
        };
        Some((Step { action: Action::Http(request), repeat: 1, ..self.like.clone() }, Visit(page)))
    }

    /// Takes note of what the answer leads to.
    pub(super) fn answered(&mut self, Visit(page): Visit, outcome: &Outcome) {
        let Answer::Http { status, headers, .. } = &outcome.answer else { return };
        if *status == 404 || *status == 410 {
            let from = page.from.as_ref().map(|from| format!(", on {from}")).unwrap_or_default();
            self.absent.push(format!("{} ({status}{from})", page.path));
        }
        let Some(here) = self.base.as_ref().and_then(|base| base.join(&page.path).ok()) else { return };
        let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        let mut found = Vec::new();
        if let Some(location) = header("location") {
            found.push(Link { reach: Reach::Shown, target: location.to_owned() });
        }
        if let Some((_, body)) = outcome.parts.iter().find(|(part, _)| *part == "body") {
            found.extend(links::of(header("content-type"), body));
        }
        let mut base = here.clone();
        for Link { reach, target } in found {
            if reach == Reach::Base {
                base = here.join(&target).unwrap_or(base);
                continue;
            }
            let depth = page.depth + u32::from(reach == Reach::Linked);
            let Ok(url) = base.join(&target) else { continue };
            if depth <= self.step.depth && self.is_here(&url) {
                self.add(path_of(&url), depth, &page.path);
            }
        }
    }

    fn add(&mut self, path: String, depth: u32, from: &str) {
        if path.len() > LONGEST || path.starts_with("//") || self.seen.contains(&path) {
            return;
        }
        if ends_something(&path) || self.step.skip.iter().any(|skip| skip.matches(&path)) {
            if self.skipped.len() < MOST_LEFT {
                self.skipped.insert(path);
            }
            return;
        }
        // Those that are seen are asked for in their order, so what comes after this many never is.
        if self.seen.len() >= self.step.pages as usize + MOST_LEFT {
            return;
        }
        self.seen.insert(path.clone());
        self.todo.push_back(Page { path, depth, from: Some(from.to_owned()) });
    }

    /// Whether `url` is on the host that is crawled, under any of the names by which the application knows it.
    fn is_here(&self, url: &Url) -> bool {
        let Some(base) = &self.base else { return false };
        let port = url.port_or_known_default();
        let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]" | "0.0.0.0"));
        url.scheme() == "http"
            && (url.host_str() == base.host_str() && port == base.port_or_known_default()
                || local && port == self.step.port)
    }

    /// What is worth telling at the end.
    pub(super) fn notes(&self) -> Vec<String> {
        let named = |what: Vec<&str>| {
            let more = what.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("{}{more}", what[..what.len().min(NAMED)].join(", "))
        };
        let about = |what: String| format!("crawl of {}: {what}", self.step.path);
        let mut out = Vec::new();
        if !self.absent.is_empty() {
            out.push(about(format!("not there: {}", named(self.absent.iter().map(String::as_str).collect()))));
        }
        if !self.skipped.is_empty() {
            out.push(about(format!("not asked for: {}", named(self.skipped.iter().map(String::as_str).collect()))));
        }
        if !self.todo.is_empty() {
            let left = self.todo.len();
            let least = if left >= MOST_LEFT { "at least " } else { "" };
            let asked = self.asked;
            out.push(about(format!("ended after {asked} requests, with {least}{left} addresses left (--crawl-pages)")));
        }
        out
    }
}

/// A request that is being made.
pub(super) struct Visit(Page);

/// Path and query, in one form for one address.
fn path_of(url: &Url) -> String {
    match url.query().filter(|query| !query.is_empty()) {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

/// Whether the address reads as if asking for it ended a session, or the application: `/user/log-out`,
/// `/?action=logout`.
fn ends_something(path: &str) -> bool {
    let mut words = path.split(['/', '?', '&', '=', '.', ';']);
    words.any(|word| {
        let letters: String = word.chars().filter(char::is_ascii_alphanumeric).collect();
        ENDINGS.contains(&letters.to_ascii_lowercase().as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Digest;

    /// Crawls a site given as path, content type and body; a path that is not given answers 404.
    fn crawl(step: CrawlStep, site: &[(&str, &str, &str)]) -> (Vec<String>, Vec<String>) {
        let step = CrawlStep { port: Some(8080), ..step };
        let like = Step::new(Action::Crawl(step.clone()));
        let mut crawl = Crawl::new(&step, &like);
        let mut asked = Vec::new();
        while let Some((step, visit)) = crawl.next() {
            let Action::Http(request) = step.action else { panic!() };
            let found = site.iter().find(|(path, ..)| *path == request.path);
            let (status, kind, body) = found.map_or((404, "text/html", ""), |(_, kind, body)| match *kind {
                "location" => (302, "text/plain", *body),
                kind => (200, kind, *body),
            });
            let mut headers = vec![("content-type".to_owned(), kind.to_owned())];
            if status == 302 {
                headers.push(("location".into(), body.into()));
            }
            let answer = Answer::Http { status, headers, body_digest: Digest::of(b""), body_bytes: 0 };
            asked.push(request.path);
            crawl.answered(visit, &Outcome::new(answer, None).showing("body", body.into()));
        }
        (asked, crawl.notes())
    }

    #[test]
    fn pages_are_asked_for_once_breadth_first_and_on_this_host_only() {
        let (asked, notes) = crawl(
            CrawlStep::new(),
            &[
                (
                    "/",
                    "text/html; charset=utf-8",
                    "<a href='/b/'>b</a><a href=c#top>c</a><a href='/b/../b/#x'>b again</a>\
                     <a href='https://example.org/'>out</a><a href='//example.org/x'>out</a><a href='mailto:a@b'>m</a>\
                     <a href='http://localhost:8080/d'>d</a><a href='http://127.0.0.1:9090/e'>e</a>\
                     <img src=/logo.png><a href=/user/Log-Out>bye</a><a href='?'>same</a>",
                ),
                ("/b/", "text/html", "<a href='deep'>d</a><link rel=stylesheet href='../s.css'>"),
                ("/s.css", "text/css", "@import 'more.css'; a { background: url(img/x.png) }"),
                ("/more.css", "text/css", ""),
                ("/c", "location", "/moved?"),
                ("/moved", "text/html", ""),
                ("/d", "text/plain", "<a href=/no-page>"),
                ("/b/deep", "text/html", ""),
                ("/logo.png", "image/png", "\u{1}"),
            ],
        );
        assert_eq!(
            asked,
            ["/", "/b/", "/c", "/d", "/logo.png", "/b/deep", "/s.css", "/moved", "/more.css", "/img/x.png"]
        );
        assert_eq!(
            notes,
            ["crawl of /: not there: /img/x.png (404, on /s.css)", "crawl of /: not asked for: /user/Log-Out"]
        );
    }

    #[test]
    fn depth_and_number_are_limited() {
        let site: Vec<(String, String)> =
            (0..20).map(|n| (format!("/{n}"), format!("<a href=/{}></a><img src=/{n}.png>", n + 1))).collect();
        let site: Vec<_> = site.iter().map(|(path, body)| (path.as_str(), "text/html", body.as_str())).collect();
        let from = |depth, pages| CrawlStep { path: "/0".into(), depth, pages, ..CrawlStep::new() };
        assert_eq!(crawl(from(0, 100), &site).0, ["/0", "/0.png"], "what a page shows is as near as the page");
        assert_eq!(crawl(from(1, 100), &site).0, ["/0", "/1", "/0.png", "/1.png"]);
        let (asked, notes) = crawl(from(9, 2), &site);
        assert_eq!(asked, ["/0", "/1"]);
        assert_eq!(notes, ["crawl of /0: ended after 2 requests, with 3 addresses left (--crawl-pages)"]);
    }

    #[test]
    fn a_page_that_names_any_number_of_addresses_is_no_burden() {
        let page: String = (0..5000).map(|n| format!("<a href=/{n}></a><a href=/logout/{n}></a>")).collect();
        let step = CrawlStep { pages: 3, ..CrawlStep::new() };
        let (asked, notes) = crawl(step, &[("/", "text/html", &page)]);
        assert_eq!(asked, ["/", "/0", "/1"]);
        assert!(notes.iter().any(|note| note.contains(" and 995 more")), "{notes:?}");
        let expected = "crawl of /: ended after 3 requests, with at least 1000 addresses left (--crawl-pages)";
        assert!(notes.contains(&expected.to_owned()), "{notes:?}");
    }

    #[test]
    fn what_is_to_be_skipped_is_skipped() {
        let step = CrawlStep { skip: vec!["/events*".parse().unwrap()], ..CrawlStep::new() };
        let page = "<a href=/events/1></a><a href='/x?do=sign_out'></a><a href=/logouts></a>";
        assert_eq!(crawl(step, &[("/", "text/html", page)]).0, ["/", "/logouts"]);
    }
}
