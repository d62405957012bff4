//! The daemon's side: a question in, its answer out, within a time that nobody can stretch. Called by whoever may wait for
//! it, which is nothing that packets or epochs depend on.

use std::{
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send, socket_with,
    sockopt::{Timeout, set_socket_timeout},
};

use super::protocol::{Answer, LONGEST_ANSWER, Question, Why};
use crate::kernel;

/// For an answer, from the question on: the helper may have to be started first.
const PATIENCE: Duration = Duration::from_secs(1);

/// The helper, by its socket.
#[derive(Clone, Debug)]
pub struct Helper {
    socket: PathBuf,
    patience: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// Nobody takes the question, or answers it in time.
    #[error("no helper")]
    NoHelper(#[source] io::Error),
    /// Whoever answers is neither root nor the daemon's own user, and is not believed.
    #[error("no helper")]
    Stranger(u32),
    /// What came is no answer to that question.
    #[error("no helper")]
    Malformed,
    /// The helper does not know.
    #[error(transparent)]
    Unknown(#[from] Why),
}

impl NoAnswer {
    /// What a field reads that it would have filled.
    pub fn field(&self) -> String {
        match self {
            Self::Unknown(why) => why.to_string(),
            Self::NoHelper(_) | Self::Stranger(_) | Self::Malformed => format!("unknown ({self})"),
        }
    }

    /// Why nobody answers; `None`: the helper does.
    pub fn silence(&self) -> Option<String> {
        match self {
            Self::NoHelper(error) => Some(match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no answer in time".to_owned(),
                _ => error.to_string(),
            }),
            Self::Stranger(user) => Some(format!("user {user} answers, who is neither root nor the daemon's")),
            Self::Malformed => Some("what answers is another version, or something else".to_owned()),
            Self::Unknown(_) => None,
        }
    }
}

impl Helper {
    /// The one that answers on this socket, if any does.
    pub const fn at(socket: PathBuf) -> Self {
        Self { socket, patience: PATIENCE }
    }

    /// The same, asked by somebody who waits for so long.
    #[must_use]
    pub fn within(&self, patience: Duration) -> Self {
        Self { socket: self.socket.clone(), patience }
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks, and waits for the answer, for a second where nothing else is said.
    ///
    /// # Errors
    /// There is none.
    pub fn ask(&self, question: &Question) -> Result<Answer, NoAnswer> {
        let message = self.exchange(&question.encode())?;
        let answer = Answer::decode(&message).map_err(|_| NoAnswer::Malformed)?;
        match (question, answer) {
            (_, Answer::None(why)) => Err(why.into()),
            (Question::Program(_), answer @ Answer::Program(_))
            | (Question::Socket { .. }, answer @ Answer::Holders(_))
            | (Question::Mount, answer @ Answer::Mounted(_)) => Ok(answer),
            (Question::Process { pid, started }, Answer::Process(process))
                if process.pid == *pid && started.is_none_or(|started| started.get() == process.started) =>
            {
                Ok(Answer::Process(process))
            }
            _ => Err(NoAnswer::Malformed),
        }
    }

    fn exchange(&self, question: &[u8]) -> Result<Vec<u8>, NoAnswer> {
        let deadline = Instant::now() + self.patience;
        let left = || match deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
            left => Ok(Some(left)),
        };
        let ask = || -> io::Result<Result<Vec<u8>, u32>> {
            let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
            // To connect waits as long as to send.
            set_socket_timeout(&socket, Timeout::Send, left()?)?;
            connect(&socket, &SocketAddrUnix::new(&self.socket)?)?;
            let (_, user) = kernel::peer(socket.as_fd())?;
            if user != 0 && user != rustix::process::geteuid().as_raw() {
                return Ok(Err(user));
            }
            send(&socket, question, SendFlags::NOSIGNAL)?;
            set_socket_timeout(&socket, Timeout::Recv, left()?)?;
            let mut answer = vec![0; LONGEST_ANSWER];
            let (_, length) = recv(&socket, &mut answer[..], RecvFlags::TRUNC)?;
            // What is longer is cut, and none; nothing at all is the end.
            answer.truncate(length);
            Ok(Ok(answer))
        };
        ask().map_err(NoAnswer::NoHelper)?.map_err(NoAnswer::Stranger)
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU64, thread};

    use rustix::net::accept;

    use super::{
        super::{
            protocol::{Holders, Process, Text},
            testing::listening,
        },
        *,
    };

    /// Somebody who says this to whoever asks, once; nothing: he hangs up.
    fn answering(answer: Option<Vec<u8>>) -> (tempfile::TempDir, Helper, thread::JoinHandle<Vec<u8>>) {
        let (folder, helper, listener) = listening();
        let answerer = thread::spawn(move || {
            let peer = accept(&listener).unwrap();
            let mut question = [0; 64];
            let (_, length) = recv(&peer, &mut question[..], RecvFlags::TRUNC).unwrap();
            if let Some(answer) = answer {
                send(&peer, &answer, SendFlags::NOSIGNAL).unwrap();
            }
            question[..length].to_vec()
        });
        (folder, helper, answerer)
    }

    #[test]
    fn an_answer_is_taken_that_is_one_to_the_question_and_no_other() {
        let process = |pid, started| Answer::Process(Process { pid, started, ..Process::default() });
        let asked = Question::Process { pid: 7, started: NonZeroU64::new(9) };
        let holders = Answer::Holders(Holders::default());
        for (question, answer, is_taken) in [
            (asked, process(7, 9), true),
            (asked, process(7, 10), false),
            (asked, process(8, 9), false),
            (Question::Process { pid: 7, started: None }, process(7, 10), true),
            (Question::Socket { inode: 7, command: false }, holders.clone(), true),
            (Question::Program(7), holders, false),
            (Question::Mount, Answer::Mounted(Text::of(b"/x")), true),
            (Question::Mount, process(7, 9), false),
        ] {
            let (_folder, helper, answerer) = answering(Some(answer.encode()));
            let taken = helper.ask(&question);
            assert_eq!(taken.as_ref().ok(), is_taken.then_some(&answer), "{question:?}");
            assert!(is_taken || matches!(taken, Err(NoAnswer::Malformed)), "{taken:?}");
            assert_eq!(answerer.join().unwrap(), question.encode());
        }
    }

    #[test]
    fn where_there_is_no_answer_the_field_says_so_and_why_is_known() {
        let longer = [Answer::Mounted(Text::of(b"/x")).encode(), vec![0; LONGEST_ANSWER]].concat();
        for (answer, field, silence) in [
            (Some(Answer::None(Why::Gone).encode()), "gone", None),
            (Some(Answer::None(Why::NotUnderstood).encode()), "unknown (the helper is of another version)", None),
            (Some(Answer::None(Why::Failed(Text::of(b"x"))).encode()), "unknown (the helper: x)", None),
            (Some(longer), "unknown (no helper)", Some("another version")),
            (Some(b"HTTP/1.1 200 OK".to_vec()), "unknown (no helper)", Some("another version")),
            (None, "unknown (no helper)", Some("another version")),
        ] {
            let (_folder, helper, answerer) = answering(answer);
            let error = helper.ask(&Question::Mount).unwrap_err();
            assert_eq!(error.field(), field);
            assert_eq!(error.silence().is_some(), silence.is_some(), "{error:?}");
            assert!(silence.is_none_or(|part| error.silence().unwrap().contains(part)), "{error:?}");
            answerer.join().unwrap();
        }
        // Nobody takes it; nobody is there.
        let (folder, helper, listener) = listening();
        for (why, _held) in [("no answer in time", Some(listener)), ("Connection refused", None)] {
            let error = helper.ask(&Question::Mount).unwrap_err();
            assert_eq!(error.field(), "unknown (no helper)");
            assert!(error.silence().unwrap().contains(why), "{error:?}");
        }
        drop(folder);
        assert!(helper.ask(&Question::Mount).unwrap_err().silence().unwrap().contains("No such file"));
    }
}
