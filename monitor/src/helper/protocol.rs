//! Questions and answers as they go over the helper's socket: one message each, of bounded size, in one form only. Whoever
//! reads them trusts nobody: everything is checked here, and text that people will see is made harmless.

use std::num::NonZeroU64;

use monitor_policy::text::plain;

/// The first byte of every message. A helper and a daemon of different versions do not understand each other, and say so.
const VERSION: u8 = 2;

/// Bytes of the longest question.
pub const LONGEST_QUESTION: usize = 2 + 1 + 4 + 8;

/// Bytes of the longest text.
const LONGEST_TEXT: usize = 256;

/// Bytes of the longest command line.
pub const LONGEST_COMMAND: usize = 1_024;

/// A process that nobody who logged in has begun ((uid_t) -1 in /proc/PID/loginuid).
pub const NO_LOGIN: u32 = u32::MAX;

/// Processes that are named of those that hold something.
pub const MOST_HOLDERS: usize = 8;

const PROCESS: usize = 4 * 4 + 8 + 3 * (2 + LONGEST_TEXT) + 2 + LONGEST_COMMAND;

/// Bytes of the longest answer.
pub const LONGEST_ANSWER: usize = 2 + 8 + 4 + 2 + LONGEST_TEXT + 2 + MOST_HOLDERS * PROCESS;

/// What the helper can be asked; there is nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// What a BPF program is, by its id, and who holds it.
    Program(u32),
    /// What a process is.
    Process {
        /// Its id.
        pid: u32,
        /// When it began, in clock ticks since the boot (the 22nd field of /proc/PID/stat): another one that has the id since
        /// is not told of. `None`: whoever has the id now.
        started: Option<NonZeroU64>,
    },
    /// Who holds a socket.
    Socket {
        /// Its inode number.
        inode: u64,
        /// Whether their command lines are wanted, too.
        command: bool,
    },
    /// Mount the BPF file system that the helper was told of, if it is not there.
    Mount,
}

/// What the helper says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Of a program.
    Program(Program),
    /// Of a process.
    Process(Process),
    /// Of a socket.
    Holders(Holders),
    /// The BPF file system is there, and the one who asked owns it. Where.
    Mounted(Text),
    /// There is no answer.
    None(Why),
}

/// Why the helper has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// There is no such program, or process, any more.
    #[error("gone")]
    Gone,
    /// The question is none that it knows.
    #[error("unknown (the helper is of another version)")]
    NotUnderstood,
    /// What it tried failed.
    #[error("unknown (the helper: {0})")]
    Failed(Text),
}

/// A BPF program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// What the kernel makes of its instructions.
    pub tag: [u8; 8],
    /// The user who loaded it.
    pub user: u32,
    /// Its name; may be empty.
    pub name: Text,
    /// Who has it, or a link of it, open.
    pub holders: Holders,
}

/// Processes that have something open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// At most 8, in the order of their ids.
    pub processes: Vec<Process>,
    /// Whether all were found, and are here.
    pub complete: bool,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its effective user.
    pub user: u32,
    /// When it began, in clock ticks since the boot.
    pub started: u64,
    /// The process that began it, or has that one's place.
    pub parent: u32,
    /// The user who logged in, whoever it has become since; or [`NO_LOGIN`].
    pub login: u32,
    /// What it calls itself.
    pub name: Text,
    /// The file that it runs; of a thread of the kernel, its name in brackets.
    pub executable: Text,
    /// How it was called, if that was asked for: arguments with a space between them.
    pub command: Text,
    /// Its cgroup: of a service, the path that ends in the unit's name.
    pub cgroup: Text,
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pid, user, executable, cgroup, .. } = self;
        write!(f, "pid {pid} ({executable}, user {user}, cgroup {cgroup})")
    }
}

/// Other people's text, without what a terminal would do something else with than show it, and bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// As much of it as fits.
    pub fn of(bytes: &[u8]) -> Self {
        Self::at_most(bytes, LONGEST_TEXT)
    }

    /// The same of a command line.
    pub fn of_command(bytes: &[u8]) -> Self {
        Self::at_most(bytes, LONGEST_COMMAND)
    }

    fn at_most(bytes: &[u8], most: usize) -> Self {
        let mut text = plain(&String::from_utf8_lossy(&bytes[..bytes.len().min(most)]));
        text.truncate(text.floor_char_boundary(most));
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no message of the helper's protocol, version {VERSION}")]
pub struct Malformed;

impl Question {
    /// The message.
    pub fn encode(&self) -> Vec<u8> {
        match *self {
            Self::Program(id) => Writer::new(1).bytes(&id.to_le_bytes()).0,
            Self::Process { pid, started } => {
                let started = started.map_or(0, NonZeroU64::get);
                Writer::new(2).bytes(&pid.to_le_bytes()).bytes(&started.to_le_bytes()).0
            }
            Self::Socket { inode, command } => Writer::new(3).bytes(&inode.to_le_bytes()).bytes(&[u8::from(command)]).0,
            Self::Mount => Writer::new(4).0,
        }
    }

    /// The question of a message.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(message: &[u8]) -> Result<Self, Malformed> {
        let (kind, mut reader) = Reader::new(message)?;
        let question = match kind {
            1 => Self::Program(reader.u32()?),
            2 => Self::Process { pid: reader.u32()?, started: NonZeroU64::new(reader.u64()?) },
            3 => Self::Socket { inode: reader.u64()?, command: reader.flag()? },
            4 => Self::Mount,
            _ => return Err(Malformed),
        };
        reader.end(question)
    }
}

impl Answer {
    /// The message: of holders, as many as are named.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Program(Program { tag, user, name, holders }) => {
                Writer::new(1).bytes(tag).bytes(&user.to_le_bytes()).text(name).holders(holders).0
            }
            Self::Process(process) => Writer::new(2).process(process).0,
            Self::Holders(holders) => Writer::new(3).holders(holders).0,
            Self::Mounted(path) => Writer::new(4).text(path).0,
            Self::None(Why::Gone) => Writer::new(5).0,
            Self::None(Why::NotUnderstood) => Writer::new(6).0,
            Self::None(Why::Failed(why)) => Writer::new(7).text(why).0,
        }
    }

    /// The answer of a message.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(message: &[u8]) -> Result<Self, Malformed> {
        let (kind, mut reader) = Reader::new(message)?;
        let answer = match kind {
            1 => Self::Program(Program {
                tag: reader.bytes()?,
                user: reader.u32()?,
                name: reader.text()?,
                holders: reader.holders()?,
            }),
            2 => Self::Process(reader.process()?),
            3 => Self::Holders(reader.holders()?),
            4 => Self::Mounted(reader.text()?),
            5 => Self::None(Why::Gone),
            6 => Self::None(Why::NotUnderstood),
            7 => Self::None(Why::Failed(reader.text()?)),
            _ => return Err(Malformed),
        };
        reader.end(answer)
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u8) -> Self {
        Self(vec![VERSION, kind])
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn text(self, text: &Text) -> Self {
        self.bytes(&(text.0.len() as u16).to_le_bytes()).bytes(text.0.as_bytes())
    }

    fn process(self, process: &Process) -> Self {
        let Process { pid, user, started, parent, login, name, executable, command, cgroup } = process;
        let numbers = self.bytes(&pid.to_le_bytes()).bytes(&user.to_le_bytes()).bytes(&started.to_le_bytes());
        let numbers = numbers.bytes(&parent.to_le_bytes()).bytes(&login.to_le_bytes());
        numbers.text(name).text(executable).text(command).text(cgroup)
    }

    fn holders(self, holders: &Holders) -> Self {
        let shown = &holders.processes[..holders.processes.len().min(MOST_HOLDERS)];
        let complete = holders.complete && shown.len() == holders.processes.len();
        shown.iter().fold(self.bytes(&[shown.len() as u8, u8::from(complete)]), Self::process)
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn new(message: &'a [u8]) -> Result<(u8, Self), Malformed> {
        match message {
            [VERSION, kind, rest @ ..] => Ok((*kind, Self(rest))),
            _ => Err(Malformed),
        }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<Text, Malformed> {
        self.as_written(Text::of)
    }

    fn command(&mut self) -> Result<Text, Malformed> {
        self.as_written(Text::of_command)
    }

    /// A text that is written as this makes it, and not otherwise.
    fn as_written(&mut self, of: fn(&[u8]) -> Text) -> Result<Text, Malformed> {
        let length = usize::from(u16::from_le_bytes(self.bytes()?));
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Some(of(bytes)).filter(|text| text.0.as_bytes() == bytes).ok_or(Malformed)
    }

    fn flag(&mut self) -> Result<bool, Malformed> {
        match self.bytes()? {
            [0] => Ok(false),
            [1] => Ok(true),
            [_] => Err(Malformed),
        }
    }

    fn process(&mut self) -> Result<Process, Malformed> {
        Ok(Process {
            pid: self.u32()?,
            user: self.u32()?,
            started: self.u64()?,
            parent: self.u32()?,
            login: self.u32()?,
            name: self.text()?,
            executable: self.text()?,
            command: self.command()?,
            cgroup: self.text()?,
        })
    }

    fn holders(&mut self) -> Result<Holders, Malformed> {
        let [count] = self.bytes()?;
        let complete = self.flag()?;
        if usize::from(count) > MOST_HOLDERS {
            return Err(Malformed);
        }
        let processes = (0..count).map(|_| self.process()).collect::<Result<_, _>>()?;
        Ok(Holders { processes, complete })
    }

    fn end<T>(self, read: T) -> Result<T, Malformed> {
        if self.0.is_empty() { Ok(read) } else { Err(Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(random: &mut fastrand::Rng) -> Text {
        let length = random.usize(..400);
        let bytes: Vec<u8> =
            (0..length).map(|_| if random.bool() { random.u8(..) } else { random.u8(b' '..) }).collect();
        Text::of(&bytes)
    }

    fn process(random: &mut fastrand::Rng) -> Process {
        let (pid, user, started) = (random.u32(..), random.u32(..), random.u64(..));
        let (parent, login) = (random.u32(..), random.u32(..));
        let (name, executable, cgroup) = (text(random), text(random), text(random));
        let command = Text::of_command(text(random).as_str().repeat(random.usize(..9)).as_bytes());
        Process { pid, user, started, parent, login, name, executable, command, cgroup }
    }

    fn holders(random: &mut fastrand::Rng) -> Holders {
        let count = random.usize(..=MOST_HOLDERS);
        Holders { processes: (0..count).map(|_| process(random)).collect(), complete: random.bool() }
    }

    fn question(random: &mut fastrand::Rng) -> Question {
        match random.u8(..4) {
            0 => Question::Program(random.u32(..)),
            1 => Question::Process { pid: random.u32(..), started: NonZeroU64::new(random.u64(..3)) },
            2 => Question::Socket { inode: random.u64(..), command: random.bool() },
            _ => Question::Mount,
        }
    }

    fn answer(random: &mut fastrand::Rng) -> Answer {
        match random.u8(..7) {
            0 => Answer::Program(Program {
                tag: random.u64(..).to_le_bytes(),
                user: random.u32(..),
                name: text(random),
                holders: holders(random),
            }),
            1 => Answer::Process(process(random)),
            2 => Answer::Holders(holders(random)),
            3 => Answer::Mounted(text(random)),
            4 => Answer::None(Why::Gone),
            5 => Answer::None(Why::NotUnderstood),
            _ => Answer::None(Why::Failed(text(random))),
        }
    }

    fn random() -> fastrand::Rng {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        fastrand::Rng::with_seed(seed)
    }

    #[test]
    fn what_is_encoded_is_decoded_as_it_was_within_its_bounds() {
        let mut random = random();
        for _ in 0..20_000 {
            let (question, answer) = (question(&mut random), answer(&mut random));
            let (asked, said) = (question.encode(), answer.encode());
            assert_eq!((Question::decode(&asked), Answer::decode(&said)), (Ok(question), Ok(answer)));
            assert!(asked.len() <= LONGEST_QUESTION && said.len() <= LONGEST_ANSWER, "{} {}", asked.len(), said.len());
        }
    }

    #[test]
    fn whatever_else_comes_is_refused_or_says_exactly_what_it_is_read_as() {
        let mut random = random();
        let (mut refused, mut read) = (0, 0);
        for _ in 0..20_000 {
            let mut message = if random.bool() { question(&mut random).encode() } else { answer(&mut random).encode() };
            match random.u8(..4) {
                0 => message.truncate(random.usize(..message.len())),
                1 => message.push(random.u8(..)),
                2 => message = (0..random.usize(..64)).map(|_| random.u8(..)).collect(),
                _ => {
                    let at = random.usize(..message.len());
                    message[at] ^= 1 << random.u8(..8);
                }
            }
            for again in
                [Question::decode(&message).map(|it| it.encode()), Answer::decode(&message).map(|it| it.encode())]
            {
                match again {
                    Ok(again) => {
                        assert_eq!(again, message);
                        read += 1;
                    }
                    Err(Malformed) => refused += 1,
                }
            }
        }
        assert!(refused > 10_000 && read > 100, "{refused} {read}");
    }

    #[test]
    fn a_message_that_is_cut_or_goes_on_is_none() {
        let mut random = random();
        for message in (0..40).map(|_| answer(&mut random).encode()) {
            assert!((0..message.len()).all(|length| Answer::decode(&message[..length]) == Err(Malformed)));
            assert_eq!(Answer::decode(&[message, vec![0]].concat()), Err(Malformed));
        }
        let asked = Question::Process { pid: 7, started: NonZeroU64::new(9) }.encode();
        assert!((0..asked.len()).all(|length| Question::decode(&asked[..length]) == Err(Malformed)));
        assert_eq!(Question::decode(&[1, 4]), Err(Malformed), "of another version");
        assert_eq!(Question::decode(&[2, 5]), Err(Malformed), "that nobody asks");
    }

    #[test]
    fn text_that_a_terminal_would_obey_is_shown_and_more_than_fits_is_cut() {
        assert_eq!(Text::of(b"/tmp/a\n\x1b[2J\xff").as_str(), "/tmp/a\u{fffd}\u{fffd}[2J\u{fffd}");
        let long = Text::of("é".repeat(1_000).as_bytes());
        assert_eq!(long.as_str(), "é".repeat(128));
        let odd = Text::of(format!("a{}", "é".repeat(1_000)).as_bytes());
        assert!(odd.as_str().len() <= LONGEST_TEXT && odd.as_str().starts_with("aéé"), "{odd}");
        let hidden = Text::of("\u{1}".repeat(1_000).as_bytes());
        assert_eq!(hidden.as_str(), "\u{fffd}".repeat(LONGEST_TEXT / 3));
        // Not as it would be written.
        let unclean = [&[2, 4, 1, 0][..], b"\n"].concat();
        assert_eq!(Answer::decode(&unclean), Err(Malformed));
    }

    #[test]
    fn of_more_holders_than_are_named_it_is_said_that_there_are_more() {
        let many = Holders { processes: vec![Process::default(); MOST_HOLDERS + 1], complete: true };
        let Ok(Answer::Holders(read)) = Answer::decode(&Answer::Holders(many).encode()) else { panic!("holders") };
        assert_eq!((read.processes.len(), read.complete), (MOST_HOLDERS, false));
    }
}
