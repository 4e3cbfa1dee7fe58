//! Forms that are sent by GET: which address a browser would ask for if somebody submitted one as it stands.

use reqwest::Url;

/// A form under way. What is typed into a page, and what scripts do to it, it knows nothing of.
#[derive(Debug)]
pub(super) struct Form {
    action: String,
    fields: Vec<(String, String)>,
    /// Whether a button was met: a browser sends the first one.
    pressed: bool,
    open: Option<Open>,
}

/// A field whose value is the text in it.
#[derive(Debug)]
enum Open {
    Textarea { name: String, text: String },
    Select { name: String, options: Vec<Choice>, many: bool },
}

#[derive(Debug)]
struct Choice {
    value: Option<String>,
    text: String,
    selected: bool,
    closed: bool,
}

impl Form {
    /// The form with this `action` and `method`; `None` when it is not sent by GET.
    pub(super) fn open(action: Option<String>, method: Option<String>) -> Option<Form> {
        let by_get = method.is_none_or(|method| !["post", "dialog"].contains(&method.to_ascii_lowercase().as_str()));
        let action = action.map(|action| action.trim().to_owned()).unwrap_or_default();
        by_get.then(|| Form { action, fields: Vec::new(), pressed: false, open: None })
    }

    /// A start tag within it.
    pub(super) fn start(&mut self, tag: &str, attribute: &dyn Fn(&str) -> Option<String>) {
        let name = attribute("name").filter(|name| !name.is_empty() && attribute("disabled").is_none());
        let value = || attribute("value").unwrap_or_default();
        match tag {
            "input" | "button" => {
                let kind = attribute("type").map(|kind| kind.to_ascii_lowercase());
                let submits = kind.as_deref() == Some("submit") || (tag == "button" && kind.is_none());
                let sent = match kind.as_deref() {
                    _ if submits => !std::mem::replace(&mut self.pressed, true),
                    Some("checkbox" | "radio") => attribute("checked").is_some(),
                    Some("image" | "file" | "reset" | "button") => false,
                    _ => true,
                };
                let ticked = matches!(kind.as_deref(), Some("checkbox" | "radio")) && attribute("value").is_none();
                if let Some(name) = name.filter(|_| sent) {
                    self.fields.push((name, if ticked { "on".into() } else { value() }));
                }
            }
            "textarea" => self.open = name.map(|name| Open::Textarea { name, text: String::new() }),
            "select" => {
                let many = attribute("multiple").is_some();
                self.open = name.map(|name| Open::Select { name, options: Vec::new(), many });
            }
            "option" => {
                if let Some(Open::Select { options, .. }) = &mut self.open {
                    let selected = attribute("selected").is_some();
                    options.push(Choice { value: attribute("value"), text: String::new(), selected, closed: false });
                }
            }
            _ => {}
        }
    }

    /// Text within it.
    pub(super) fn text(&mut self, content: &str) {
        match &mut self.open {
            Some(Open::Textarea { text, .. }) => text.push_str(content),
            Some(Open::Select { options, .. }) => {
                if let Some(option) = options.last_mut().filter(|option| !option.closed) {
                    option.text.push_str(content);
                }
            }
            None => {}
        }
    }

    /// An end tag within it.
    pub(super) fn end(&mut self, tag: &str) {
        match (&mut self.open, tag) {
            (Some(Open::Select { options, .. }), "option") => {
                // Text goes to the last one only.
                if let Some(option) = options.last_mut() {
                    option.closed = true;
                }
            }
            (Some(Open::Select { .. }), "select") | (Some(Open::Textarea { .. }), "textarea") => self.close(),
            _ => {}
        }
    }

    fn close(&mut self) {
        match self.open.take() {
            Some(Open::Textarea { name, text }) => {
                let text = text.strip_prefix('\n').unwrap_or(&text).to_owned();
                self.fields.push((name, text));
            }
            Some(Open::Select { name, options, many }) => {
                let mut chosen: Vec<&Choice> = options.iter().filter(|option| option.selected).collect();
                if !many {
                    chosen = chosen.last().copied().or(options.first()).into_iter().collect();
                }
                for option in chosen {
                    let words = || option.text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
                    self.fields.push((name.clone(), option.value.clone().unwrap_or_else(words)));
                }
            }
            None => {}
        }
    }

    /// The address that it asks for, relative to the page.
    pub(super) fn address(mut self) -> Option<String> {
        self.close();
        let mut query = Url::parse("http://x/").ok()?;
        query.query_pairs_mut().extend_pairs(&self.fields);
        let action = self.action.split(['?', '#']).next().unwrap_or_default();
        Some(format!("{action}?{}", query.query().unwrap_or_default()))
    }
}
