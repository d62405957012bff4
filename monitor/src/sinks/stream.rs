//! Lines to anything that can be written to; standard output is one. Handed over: what becomes of them then is the
//! reader's.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Write},
    os::fd::AsFd,
};

use anstream::{AutoStream, ColorChoice};

use super::{About, Failure, Line, Sink, terminal::Terminal};
use crate::model::delivery::Promise;

/// See the module.
pub struct Stream {
    about: About,
    to: Box<dyn Write + Send>,
    partial: Partial,
}

/// The line that is out in part: its sequence and how much of it.
pub(super) type Partial = Option<(u64, usize)>;

impl Stream {
    /// Standard output, unbuffered: Rust's own buffers could keep half a line. A terminal gets a line for people of each.
    ///
    /// # Errors
    /// Standard output is closed.
    pub fn stdout() -> io::Result<Self> {
        let out = io::stdout();
        let to = File::from(out.as_fd().try_clone_to_owned()?);
        if !out.is_terminal() {
            return Ok(Self::new("stdout", Box::new(to)));
        }
        let in_colour = AutoStream::choice(&out) != ColorChoice::Never;
        Ok(Self::new("stdout", Box::new(Terminal { to, in_colour })))
    }

    /// Anything that can be written to.
    pub fn new(name: &str, to: Box<dyn Write + Send>) -> Self {
        Self { about: About::local(name, "stdout", Promise::HandedOver), to, partial: None }
    }
}

impl Sink for Stream {
    fn about(&self) -> &About {
        &self.about
    }

    fn deliver(&mut self, lines: &[Line<'_>]) -> Result<String, Failure> {
        write(self.to.as_mut(), &mut self.partial, lines)?;
        Ok(String::new())
    }
}

/// Writes each line in one `write(2)` where it is taken whole. One that was broken off is gone on with; if it is not to
/// come any more, its line is ended.
pub(super) fn write(to: &mut dyn Write, partial: &mut Partial, lines: &[Line<'_>]) -> Result<(), Failure> {
    for (at, (stamp, line)) in lines.iter().enumerate() {
        let mut out = match *partial {
            Some((sequence, out)) if sequence == stamp.sequence => out,
            Some(_) => {
                to.write_all(b"\n").map_err(|error| Failure::later(at, error))?;
                0
            }
            None => 0,
        };
        *partial = None;
        while out < line.len() {
            let why = match to.write(&line[out..]) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(written) => {
                    out += written;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            *partial = (out > 0).then_some((stamp.sequence, out));
            return Err(Failure::later(at, why));
        }
    }
    to.flush().map_err(|error| Failure::later(0, error))
}
