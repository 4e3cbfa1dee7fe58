//! The answers to the `stat` family: what the kernel says, with the owner and the mode that the application knows.

use std::io;

use super::StatLayout;
use super::credentials::Credentials;
use super::verdict::{AtExit, Caller, Located, Verdict, Virtual};

/// What `newfstatat` and `statx` take; with others they fail, and with ours that is what they do.
const STAT_FLAGS: u32 = 0x100 | 0x800 | 0x1000;
const STATX_FLAGS: u32 = STAT_FLAGS | 0x6000;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Of the structure.
    pub layout: StatLayout,
    /// Where it is to be.
    pub buffer: u64,
    /// As the application gave them.
    pub flags: u32,
    /// As the application gave it.
    pub mask: u32,
}

impl Virtual {
    /// Answers for what was located.
    pub fn stat(
        &mut self,
        caller: &mut Caller<'_>,
        who: &Credentials,
        question: &Question,
        located: &Located,
    ) -> io::Result<Verdict> {
        let allowed = if question.layout == StatLayout::Statx { STATX_FLAGS } else { STAT_FLAGS };
        let spot = match located {
            Located::At(spot) if question.flags & !allowed == 0 => spot,
            Located::Blind => return Ok(Verdict::Await(question.at_exit(None))),
            _ => return Ok(Verdict::Pass),
        };
        let Ok((stat, identity)) = self.identify(caller, spot, who)? else { return Ok(Verdict::Pass) };
        let mut bytes = match question.layout {
            StatLayout::X86_64 => raw(&stat),
            StatLayout::Statx => match spot.statx(question.flags, question.mask) {
                Ok(statx) => raw(&statx),
                Err(_) => return Ok(Verdict::Pass),
            },
            _ => return Ok(Verdict::Await(question.at_exit(Some(identity)))),
        };
        question.layout.patch(&mut bytes, &identity);
        Ok(caller.write(question.buffer, &bytes).map(|()| 0).into())
    }

    /// The call has returned and written its structure.
    pub fn stat_returned(&mut self, caller: &mut Caller<'_>, at_exit: &AtExit) -> io::Result<()> {
        let AtExit::Stat { layout, buffer, identity } = at_exit else { return Ok(()) };
        let Ok(mut bytes) = caller.read(*buffer, layout.len()) else { return Ok(()) };
        let Some(who) = self.people.get(caller.id) else { return Ok(()) };
        let identity = match identity {
            Some(identity) => *identity,
            None => {
                let Some(shown) = layout.read(&bytes) else { return Ok(()) };
                self.nameless(&bytes, *layout).unwrap_or(super::FileIdentity::new(
                    who.uid.filesystem,
                    who.gid.filesystem,
                    shown.mode,
                ))
            }
        };
        layout.patch(&mut bytes, &identity);
        match caller.write(*buffer, &bytes) {
            // It could be written to a moment ago; another thread may have unmapped it.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Whose the file is that a structure of the kernel's describes.
    fn nameless(&mut self, bytes: &[u8], layout: StatLayout) -> Option<super::FileIdentity> {
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        // SAFETY: all-zero is a valid value of this plain structure.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        match layout {
            StatLayout::X86_64 => (stat.st_dev, stat.st_ino) = (word(0)?, word(8)?),
            StatLayout::Statx => {
                let device = word(136)?;
                stat.st_dev = libc::makedev(device as u32, (device >> 32) as u32);
                stat.st_ino = word(32)?;
            }
            _ => return None,
        }
        stat.st_mode = layout.read(bytes)?.mode;
        self.files.settle(None);
        self.files.bound(&stat)
    }
}

impl Question {
    fn at_exit(&self, identity: Option<super::FileIdentity>) -> AtExit {
        AtExit::Stat { layout: self.layout, buffer: self.buffer, identity }
    }
}

/// The bytes of a structure that the kernel has filled.
fn raw<T: Copy>(value: &T) -> Vec<u8> {
    let start = std::ptr::from_ref(value).cast::<u8>();
    // SAFETY: `libc::stat` and `libc::statx` have no padding: every byte of them belongs to a field, and was zero or was
    // written by the kernel.
    unsafe { std::slice::from_raw_parts(start, size_of::<T>()) }.to_vec()
}

/// `fstat` and its like: what the descriptor stands for.
impl Virtual {
    /// Answers for a descriptor.
    pub fn fstat(
        &mut self,
        caller: &mut Caller<'_>,
        who: &Credentials,
        layout: StatLayout,
        descriptor: i32,
        buffer: u64,
    ) -> io::Result<Verdict> {
        let question = Question { layout, buffer, flags: 0, mask: 0 };
        let located = self.link(caller, &format!("fd/{descriptor}"))?;
        self.stat(caller, who, &question, &located)
    }
}
