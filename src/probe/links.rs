//! What a page leads to: the addresses in HTML and CSS, in the order in which they stand there.
//!
//! HTML is read as a stream of tokens, so that no page is too deep, by the tokenizer that browsers' rules are made
//! for. Scripts are not run, and what they would ask for is not found.

use std::cell::RefCell;

use html5ever::TokenizerResult;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use crate::probe::forms::Form;
use crate::probe::style;

/// How an address belongs to the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// A browser asks for it to show the page.
    Shown,
    /// Somebody has to follow it.
    Linked,
    /// It is none: what the addresses after it are relative to.
    Base,
}

/// An address as it is written, absolute or relative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) reach: Reach,
    pub(super) target: String,
}

/// The addresses in a body of this content type; none in what is neither HTML nor CSS nor SVG.
pub(super) fn of(content_type: Option<&str>, body: &[u8]) -> Vec<Link> {
    let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let text = String::from_utf8_lossy(body);
    match kind.as_str() {
        "text/html" | "application/xhtml+xml" | "image/svg+xml" => in_html(&text),
        "" if text.trim_start().starts_with('<') => in_html(&text),
        "text/css" => style::addresses(&text).into_iter().map(shown).collect(),
        _ => Vec::new(),
    }
}

fn shown(target: String) -> Link {
    Link { reach: Reach::Shown, target }
}

fn in_html(text: &str) -> Vec<Link> {
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(text));
    let tokenizer = Tokenizer::new(Page::default(), TokenizerOpts::default());
    while let TokenizerResult::Script(()) = tokenizer.feed(&input) {}
    tokenizer.end();
    let mut reading = tokenizer.sink.0.into_inner();
    reading.close_form();
    reading.links
}

#[derive(Default)]
struct Page(RefCell<Reading>);

#[derive(Default)]
struct Reading {
    links: Vec<Link>,
    has_base: bool,
    /// The content of a style element that is open.
    style: Option<String>,
    form: Option<Form>,
}

impl TokenSink for Page {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut reading = self.0.borrow_mut();
        match token {
            Token::TagToken(tag) => return reading.tag(&tag),
            Token::CharacterTokens(text) => {
                if let Some(style) = &mut reading.style {
                    style.push_str(&text);
                } else if let Some(form) = &mut reading.form {
                    form.text(&text);
                }
            }
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

impl Reading {
    fn tag(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let name: &str = &tag.name;
        if tag.kind == TagKind::EndTag {
            match name {
                "style" => {
                    let style = self.style.take().unwrap_or_default();
                    self.links.extend(style::addresses(&style).into_iter().map(shown));
                }
                "form" => self.close_form(),
                _ => {
                    if let Some(form) = &mut self.form {
                        form.end(name);
                    }
                }
            }
            return TokenSinkResult::Continue;
        }
        let value = |name: &str| attribute(tag, name);
        match name {
            "base" if !self.has_base => {
                if let Some(target) = value("href") {
                    self.has_base = true;
                    self.links.push(Link { reach: Reach::Base, target });
                }
            }
            "a" | "area" => self.add(Reach::Linked, value("href")),
            "iframe" | "frame" => self.add(Reach::Linked, value("src")),
            "link" => self.link(tag),
            "img" | "source" | "script" | "embed" | "video" | "audio" | "track" | "input" => {
                let image = name != "input" || value("type").is_some_and(|kind| kind.eq_ignore_ascii_case("image"));
                if image {
                    self.add(Reach::Shown, value("src"));
                }
                self.add(Reach::Shown, value("poster"));
                self.candidates(value("srcset"));
            }
            "object" => self.add(Reach::Shown, value("data")),
            "body" | "table" | "td" | "th" => self.add(Reach::Shown, value("background")),
            "image" | "use" | "feimage" | "feImage" => {
                self.add(Reach::Shown, value("href").or_else(|| value("xlink:href")));
            }
            "meta" => self.refresh(tag),
            "form" => {
                self.close_form();
                self.form = Form::open(value("action"), value("method"));
            }
            _ => {}
        }
        if let Some(style) = value("style") {
            self.links.extend(style::addresses(&style).into_iter().map(shown));
        }
        if let Some(form) = &mut self.form {
            form.start(name, &value);
        }
        match name {
            _ if tag.self_closing => TokenSinkResult::Continue,
            "style" => {
                self.style = Some(String::new());
                TokenSinkResult::RawData(RawKind::Rawtext)
            }
            "script" => TokenSinkResult::RawData(RawKind::ScriptData),
            "textarea" | "title" => TokenSinkResult::RawData(RawKind::Rcdata),
            "xmp" | "noembed" | "noframes" => TokenSinkResult::RawData(RawKind::Rawtext),
            "plaintext" => TokenSinkResult::Plaintext,
            _ => TokenSinkResult::Continue,
        }
    }

    fn add(&mut self, reach: Reach, target: Option<String>) {
        if let Some(target) = target.map(|target| target.trim().to_owned()).filter(|target| !target.is_empty()) {
            self.links.push(Link { reach, target });
        }
    }

    fn close_form(&mut self) {
        if let Some(target) = self.form.take().and_then(Form::address) {
            self.links.push(Link { reach: Reach::Linked, target });
        }
    }

    fn link(&mut self, tag: &Tag) {
        let rel = attribute(tag, "rel").unwrap_or_default().to_ascii_lowercase();
        let is = |words: &[&str]| rel.split_ascii_whitespace().any(|word| words.contains(&word));
        if is(&["dns-prefetch", "preconnect"]) {
            return;
        }
        let linked = is(&["canonical", "next", "prev", "alternate", "author", "help", "license", "search"]);
        let reach = if linked && !is(&["stylesheet"]) { Reach::Linked } else { Reach::Shown };
        self.add(reach, attribute(tag, "href"));
        self.candidates(attribute(tag, "imagesrcset"));
    }

    /// The addresses of a `srcset`: `a.png 1x, b.png 2x` (HTML, 4.8.4.2.1; a comma within an address does not end it).
    fn candidates(&mut self, list: Option<String>) {
        let list = list.unwrap_or_default();
        let mut rest = list.as_str();
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
            if rest.is_empty() {
                return;
            }
            let (address, after) = rest.split_at(rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len()));
            self.add(Reach::Shown, Some(address.trim_end_matches(',').to_owned()));
            rest = match address.ends_with(',') {
                true => after,
                false => after.split_once(',').map_or("", |(_, next)| next),
            };
        }
    }

    /// `<meta http-equiv=refresh content="0; url=next">`.
    fn refresh(&mut self, tag: &Tag) {
        let refreshes = attribute(tag, "http-equiv").is_some_and(|what| what.eq_ignore_ascii_case("refresh"));
        let content = attribute(tag, "content").filter(|_| refreshes).unwrap_or_default();
        let Some((_, target)) = content.split_once([';', ',']) else { return };
        let target = target.trim_start();
        let target = match target.get(..3).filter(|url| url.eq_ignore_ascii_case("url")) {
            Some(_) => target[3..].trim_start().trim_start_matches('=').trim_start(),
            None => target,
        };
        self.add(Reach::Linked, Some(target.trim_matches(['\'', '"']).to_owned()));
    }
}

fn attribute(tag: &Tag, name: &str) -> Option<String> {
    tag.attrs.iter().find(|attribute| &*attribute.name.local == name).map(|attribute| attribute.value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(html: &str) -> Vec<String> {
        let letter = |reach| match reach {
            Reach::Shown => 's',
            Reach::Linked => 'l',
            Reach::Base => 'b',
        };
        in_html(html).into_iter().map(|link| format!("{} {}", letter(link.reach), link.target)).collect()
    }

    #[test]
    fn every_kind_of_address_is_found() {
        for (html, expected) in [
            ("<A HREF=' /x?a=1&amp;b=2 '>x</a>", &["l /x?a=1&b=2"][..]),
            ("<area href=m><iframe src=f></iframe>", &["l m", "l f"]),
            (
                "<img src=a srcset='b 1x, c,d 2x,e'><source srcset='f, g'>",
                &["s a", "s b", "s c,d", "s e", "s f", "s g"],
            ),
            ("<video src=v poster=p></video><object data=o></object><embed src=e>", &["s v", "s p", "s o", "s e"]),
            ("<script src=j></script><script>'<a href=no>'</script>", &["s j"]),
            ("<link rel=stylesheet href=c><link rel=preconnect href=//x><link rel=next href=n>", &["s c", "l n"]),
            ("<link rel='alternate stylesheet' href=c>", &["s c"]),
            ("<base href=/b/><base href=/c/><a href=x>", &["b /b/", "l x"]),
            ("<meta http-equiv=Refresh content='0; URL=\"n\"'><meta name=x content='1;url=no'>", &["l n"]),
            ("<style>@import 'i'; a{b:url(u)}</style><p style='c: url(&quot;v&quot;)'>", &["s i", "s u", "s v"]),
            ("<svg><use xlink:href=s.svg#a /><image href=i /></svg>", &["s s.svg#a", "s i"]),
            ("<!-- <a href=no> --><title><a href=no></title><textarea><a href=no></textarea>", &[]),
            ("<input type=image src=i><input src=no>", &["s i"]),
            ("<a><a href=><a href", &[]),
        ] {
            assert_eq!(targets(html), expected, "{html}");
        }
    }

    #[test]
    fn forms_by_get_are_sent_with_their_default_values() {
        for (html, expected) in [
            (
                "<form action=/s?old=1><input name=q value='a b&amp;c'><input type=checkbox name=no>\
                 <input type=checkbox name=yes checked><input type=radio name=r value=1><input type=radio name=r value=2 checked>\
                 <input type=hidden name=h value=\u{e9}><input name=off value=x disabled><input type=file name=f>\
                 <select name=s><option value=1>one<option selected>two</select><select name=t><option>first</option></select>\
                 <textarea name=u>\nlong text</textarea><button name=b value=go>Go</button><input type=submit name=z></form>",
                &["l /s?q=a+b%26c&yes=on&r=2&h=%C3%A9&s=two&t=first&u=long+text&b=go"][..],
            ),
            ("<form><input name=q></form>", &["l ?q="]),
            ("<form method=POST action=/p><input name=q></form>", &[]),
            ("<form method=dialog><input name=q></form>", &[]),
            ("<form action=/open><input name=q value=1>", &["l /open?q=1"]),
            ("<form action=/a></form><input name=out><form action='/b#x'></form>", &["l /a?", "l /b?"]),
        ] {
            assert_eq!(targets(html), expected, "{html}");
        }
    }

    #[test]
    fn only_documents_have_addresses() {
        for (kind, body, found) in [
            (Some("text/html;charset=x"), "<a href=x>", true),
            (Some("TEXT/CSS"), "a{b:url(x)}", true),
            (None, " <html><a href=x>", true),
            (None, "text <a href=x>", false),
            (Some("application/json"), "<a href=x>", false),
        ] {
            assert_eq!(!of(kind, body.as_bytes()).is_empty(), found, "{kind:?} {body}");
        }
    }

    #[test]
    fn no_page_is_too_deep_or_too_broken() {
        let deep = "<div><form><b>".repeat(50_000) + "<a href=x>";
        assert!(targets(&deep).contains(&"l x".to_owned()));
        let html = [0x3c, 0xff, 0x61, 0x20, 0x68, 0, 0x3e];
        assert!(of(Some("text/html"), &html).is_empty());
    }
}
