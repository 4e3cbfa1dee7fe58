//! The steps of a spec that speak the protocols of the web, beside plain requests.

use std::ops::Range;

use super::tables::{ExpectDocument, StepDocument, TurnDocument};
use super::{Context, parse_header, parse_path};
use crate::probe::crawl::CrawlStep;
use crate::probe::expect::{BytesExpect, BytesRegex, GrpcExpect, Pattern};
use crate::probe::grpc::{GrpcCall, GrpcStep};
use crate::probe::openapi::{OpenapiSource, OpenapiStep};
use crate::probe::step::Secret;
use crate::probe::websocket::{WebsocketStep, WebsocketTurn};
use crate::probe::{ProbeError, escapes};

impl Context<'_> {
    pub(super) fn crawl(&self, step: &StepDocument) -> Result<CrawlStep, ProbeError> {
        let default = CrawlStep::new();
        let mut skip: Vec<Pattern> = Vec::new();
        for glob in step.skip.iter().flat_map(|skip| skip.get_ref()) {
            skip.push(self.check(&glob.span(), glob.get_ref().parse())?);
        }
        let pages = self.optional(&step.pages, |&n| match n {
            1..=100_000 => Ok(n),
            n => Err(format!("a crawl makes 1 to 100000 requests, not {n}")),
        })?;
        Ok(CrawlStep {
            port: self.port(&step.port)?,
            path: self.optional(&step.path, |path| parse_path(path))?.unwrap_or(default.path),
            host: self.host(step)?,
            headers: self.headers(step)?,
            depth: step.depth.as_ref().map_or(default.depth, |depth| *depth.get_ref()),
            pages: pages.unwrap_or(default.pages),
            skip,
        })
    }

    pub(super) fn openapi(&self, step: &StepDocument, place: &Range<usize>) -> Result<OpenapiStep, ProbeError> {
        let path = self.optional(&step.path, |path| parse_path(path))?;
        let found = match (path, &step.file) {
            (Some(path), None) => OpenapiStep::new(OpenapiSource::Path(path)),
            (None, Some(file)) => OpenapiStep::from_file(&self.directory.join(file.get_ref()), file.get_ref())
                .map_err(|error| match error {
                    ProbeError::Spec { message, .. } => {
                        self.error(&file.span(), format!("{}: {message}", file.get_ref()), None)
                    }
                    other => other,
                })?,
            _ => {
                return Err(self.error(place, "a step of kind openapi needs path or file, and only one of them", None));
            }
        };
        Ok(OpenapiStep { port: self.port(&step.port)?, host: self.host(step)?, headers: self.headers(step)?, ..found })
    }

    pub(super) fn websocket(&self, step: &StepDocument) -> Result<WebsocketStep, ProbeError> {
        let turns = step.messages.iter().flat_map(|messages| messages.get_ref());
        let protocols = self.optional(&step.protocols, |protocols| {
            protocols.iter().try_for_each(|name| parse_header(name, "").map(drop).map_err(|_| bad_protocol(name)))?;
            Ok(protocols.clone())
        })?;
        Ok(WebsocketStep {
            port: self.port(&step.port)?,
            path: self.optional(&step.path, |path| parse_path(path))?.unwrap_or_else(|| "/".into()),
            host: self.host(step)?,
            headers: self.headers(step)?,
            protocols: protocols.unwrap_or_default(),
            messages: turns.map(|turn| self.turn(turn)).collect::<Result<_, _>>()?,
        })
    }

    fn turn(&self, turn: &toml::Spanned<TurnDocument>) -> Result<WebsocketTurn, ProbeError> {
        let TurnDocument { send, send_hex, contains, matches } = turn.get_ref();
        match (send, send_hex, contains.is_some() || matches.is_some()) {
            (Some(text), None, false) => Ok(WebsocketTurn::Text(text.get_ref().as_str().into())),
            (None, Some(hex), false) => {
                Ok(WebsocketTurn::Binary(Secret(self.check(&hex.span(), escapes::parse_hex(hex.get_ref()))?)))
            }
            (None, None, true) => Ok(WebsocketTurn::Expect(BytesExpect {
                contains: self.optional(contains, |text| escapes::parse_text(text))?,
                matches: self.optional(matches, |text| text.parse::<BytesRegex>())?,
            })),
            _ => {
                let hint = "write { send = \"text\" }, { send_hex = \"00 ff\" }, { contains = \"text\" } or { matches = \"regex\" }";
                let message = "a message is either sent or expected, and has one content";
                Err(self.error(&turn.span(), message, Some(hint.into())))
            }
        }
    }

    pub(super) fn grpc(
        &self,
        step: &StepDocument,
        expect: &ExpectDocument,
        place: &Range<usize>,
    ) -> Result<GrpcStep, ProbeError> {
        let call = self.optional(&step.call, |call| call.parse::<GrpcCall>())?.unwrap_or(GrpcCall::Health);
        let message = self.send(&step.send, &step.send_hex)?;
        if message.is_some() && !matches!(call, GrpcCall::Method(_)) {
            let hint = "call = \"/package.Service/Method\" sends one";
            return Err(self.error(place, format!("the call {call} sends no message of yours"), Some(hint.into())));
        }
        if let Some(service) = step.service.as_ref().filter(|_| call != GrpcCall::Health) {
            return Err(self.error(&service.span(), format!("the call {call} is about no service"), None));
        }
        Ok(GrpcStep {
            port: self.port(&step.port)?,
            call,
            service: step.service.as_ref().map(|service| service.get_ref().clone()).unwrap_or_default(),
            message: message.unwrap_or_default(),
            host: self.host(step)?,
            headers: self.headers(step)?,
            expect: GrpcExpect {
                code: expect.code.as_ref().map_or(0, |code| *code.get_ref()),
                messages: self.bytes(expect)?,
            },
        })
    }
}

fn bad_protocol(name: &str) -> String {
    format!("{name:?} is no name of a subprotocol")
}
