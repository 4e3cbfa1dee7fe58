//! The fields of steps that speak bytes or run something: tcp, udp, exec and script.

use std::ops::Range;

use toml::Spanned;

use super::Context;
use super::tables::{ExchangeDocument, ExpectDocument, StepDocument};
use crate::probe::ProbeError;
use crate::probe::expect::ExecExpect;
use crate::probe::script::{self, ScriptStep};
use crate::probe::step::{Exchange, ExecStep, TcpStep, UdpStep, command_text};
use crate::probe::target::Port;

impl Context<'_> {
    pub(super) fn tcp(&self, step: &mut StepDocument, expect: &ExpectDocument) -> Result<TcpStep, ProbeError> {
        let port = self.port(&step.port)?;
        let half_close = step.half_close.as_ref().is_some_and(|half_close| *half_close.get_ref());
        let alone = Exchange {
            send: self.send(&step.send, &step.send_hex)?,
            until: self.optional(&step.until, |text| text.parse())?,
            expect: self.bytes(expect)?,
            may_end: false,
        };
        let Some(turns) = step.dialogue.take() else { return Ok(TcpStep { port, dialogue: vec![alone], half_close }) };
        let place = turns.span();
        if alone != Exchange::default() {
            let message = "a step has either a dialogue, or send, until and expect of its own";
            return Err(self.error(&place, message, None));
        }
        let turns = turns.into_inner();
        if turns.is_empty() {
            let hint = r#"dialogue = [{ send = 'HELO x\r\n', until = '\n' }, { send = 'QUIT\r\n' }]"#;
            return Err(self.error(&place, "the dialogue is empty", Some(hint.into())));
        }
        let dialogue = turns.into_iter().map(|turn| self.exchange(turn)).collect::<Result<_, _>>()?;
        Ok(TcpStep { port, dialogue, half_close })
    }

    fn exchange(&self, turn: Spanned<ExchangeDocument>) -> Result<Exchange, ProbeError> {
        let mut turn = turn.into_inner();
        let expect = turn.expect.take().map(Spanned::into_inner).unwrap_or_default();
        for (field, span) in expect.given() {
            if !["expect.contains", "expect.matches"].contains(&field) {
                let hint = "it has expect.contains, expect.matches";
                return Err(self.error(&span, format!("a turn of a dialogue has no field {field}"), Some(hint.into())));
            }
        }
        Ok(Exchange {
            send: self.send(&turn.send, &turn.send_hex)?,
            until: self.optional(&turn.until, |text| text.parse())?,
            expect: self.bytes(&expect)?,
            may_end: turn.may_end,
        })
    }

    pub(super) fn udp(
        &self,
        step: &StepDocument,
        expect: &ExpectDocument,
        place: &Range<usize>,
    ) -> Result<UdpStep, ProbeError> {
        let Some(send) = self.send(&step.send, &step.send_hex)? else {
            return Err(self.error(place, "a step of kind udp needs send or send_hex", None));
        };
        let answer = step.answer.as_ref().is_none_or(|answer| *answer.get_ref());
        let expect = self.bytes(expect)?;
        if !answer && !expect.is_empty() {
            return Err(self.error(place, "a step with answer = false expects nothing", None));
        }
        Ok(UdpStep { port: self.port(&step.port)?, send, answer, expect })
    }

    pub(super) fn exec(
        &self,
        step: &StepDocument,
        expect: &ExpectDocument,
        place: &Range<usize>,
    ) -> Result<ExecStep, ProbeError> {
        let argv = match (&step.argv, &step.shell) {
            (Some(argv), None) => argv.get_ref().clone(),
            (None, Some(line)) => vec!["/bin/sh".into(), "-c".into(), line.get_ref().clone()],
            _ => return Err(self.error(place, "a step of kind exec needs argv or shell, and only one of them", None)),
        };
        if argv.first().is_none_or(String::is_empty) {
            return Err(self.error(place, "argv names no command", None));
        }
        if argv.iter().any(|word| word.contains('\0')) {
            return Err(self.error(place, "a command holds a NUL byte", None));
        }
        let text = |field: &Option<Spanned<String>>| field.as_ref().map(|field| field.get_ref().clone());
        Ok(ExecStep {
            argv,
            user: text(&step.user),
            keep: step.keep.as_ref().is_none_or(|keep| *keep.get_ref()),
            expect: self.ended(expect)?,
        })
    }

    /// What is expected of something that ends.
    fn ended(&self, expect: &ExpectDocument) -> Result<ExecExpect, ProbeError> {
        let text = |field: &Option<Spanned<String>>| field.as_ref().map(|field| field.get_ref().clone());
        Ok(ExecExpect {
            exit: expect.exit.as_ref().map(|exit| *exit.get_ref()).unwrap_or(0),
            stdout_contains: text(&expect.stdout_contains),
            stdout: text(&expect.stdout),
            stdout_digest: self.digest(&expect.stdout_digest)?,
        })
    }

    pub(super) fn script(
        &self,
        step: &StepDocument,
        expect: &ExpectDocument,
        place: &Range<usize>,
    ) -> Result<ScriptStep, ProbeError> {
        let args = step.args.as_ref().map(|args| args.get_ref().clone()).unwrap_or_default();
        let (title, argv) = match (&step.file, &step.shell) {
            (Some(file), None) => {
                let path = self.directory.join(file.get_ref());
                let line = self.line(&file.span());
                let program = script::executable(&path, || format!("{}:{line}: file {:?}", self.file, file.get_ref()))?;
                let typed: Vec<String> = [file.get_ref().clone()].into_iter().chain(args.iter().cloned()).collect();
                (command_text(&typed), [vec![program], args].concat())
            }
            (None, Some(line)) if step.args.is_none() => {
                (command_text(&[line.get_ref().clone()]), script::shell(line.get_ref()))
            }
            _ => {
                let message = "a script step has either a file, to which args may be given, or a line for the shell";
                return Err(self.error(place, message, Some("file = \"check.sh\", or shell = \"make check\"".into())));
            }
        };
        if argv.iter().any(|word| word.contains('\0')) {
            return Err(self.error(place, "a command holds a NUL byte", None));
        }
        let port = self.port(&step.port)?.map(Port::tcp);
        Ok(ScriptStep { title: format!("script {title}"), argv, port, expect: self.ended(expect)? })
    }
}
