//! Who sends: an alert on an incident in, the same with process, control group and user out, as far as they can be found.
//! Called by the thread that writes alerts down, before it does; nothing that packets or epochs depend on waits for it. The
//! flow's socket is asked for in the kernel's tables, its control group in the tree of these, and who has it open of the
//! helper, which may look into other people's processes.
//!
//! Looking takes time, and somebody may make many alerts: what took long is owed three times as long a rest, and when two
//! seconds of that are owed nobody is asked.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    helper::{Answer, Helper, Holders, NO_LOGIN, Process, Question},
    kernel::{self, ControlGroups, FlowSocket},
    model::{
        Alert, Attributions,
        attribution::{Attribution, Method, Sender},
        incident::{Example, Incident, IncidentKind, Stage},
        now,
    },
};

/// For an answer of the helper's, who looks for half a second at most.
const PATIENCE: Duration = Duration::from_millis(700);

/// How far questions may be ahead of the rest that they are owed.
const AHEAD: Duration = Duration::from_secs(2);

/// After nobody has answered.
const AGAIN: Duration = Duration::from_secs(5);

/// A question that took longer was work.
const WORK: Duration = Duration::from_millis(5);

/// What is missing where the socket is another one.
const LISTENER: &str = "the connection is over, or nobody has taken it: this is whose socket takes those to its port";

/// A clock tick of /proc, in nanoseconds: there are 100 a second on every machine that Linux runs on today (USER_HZ).
const TICK: i128 = 10_000_000;

/// See the module.
pub struct Attributor {
    helper: Helper,
    /// Whether command lines are asked for.
    commands: bool,
    groups: ControlGroups,
    found: Arc<Attributions>,
    /// When all rest is had: the helper is not asked long before.
    rested: Instant,
    /// Why, where nobody answers.
    silence: Option<String>,
}

impl Attributor {
    /// That tells `found` of everything; `commands`: with command lines.
    pub fn new(helper: &Helper, commands: bool, found: Arc<Attributions>) -> Self {
        Self {
            helper: helper.within(PATIENCE),
            commands,
            groups: ControlGroups::default(),
            found,
            rested: Instant::now(),
            silence: None,
        }
    }

    /// The alert with who sends, if it is one of which that was not known.
    pub fn attributed(&mut self, alert: &Alert) -> Option<Alert> {
        let Alert::Incident(of) = alert else { return None };
        if of.incident.kind != IncidentKind::Egress || of.stage == Stage::End || of.incident.attribution.is_some() {
            return None;
        }
        let attribution = self.of(&of.incident);
        self.found.note(of.incident.id, attribution.clone());
        let mut with = of.clone();
        with.incident.attribution = Some(Box::new(attribution));
        Some(Alert::Incident(with))
    }

    fn of(&mut self, incident: &Incident) -> Attribution {
        if incident.source.is_some() {
            return Attribution::forwarded();
        }
        let Some(example) = &incident.example else { return Attribution::none("no flow of it is known") };
        let Example { source, source_port, destination, destination_port, protocol, interface, .. } = example;
        let (local, remote) =
            (SocketAddr::new(*source, *source_port), SocketAddr::new(*destination, *destination_port));
        // One that has gone meanwhile had no socket bound to it that is still there.
        let index = kernel::interface_index(interface).unwrap_or(0);
        match kernel::socket_of(*protocol, local, remote, index) {
            Ok(Some(socket)) => self.of_socket(&socket),
            Ok(None) if matches!(*protocol, 6 | 17) => {
                Attribution::none("when it was looked for, no socket of the flow was there")
            }
            Ok(None) => Attribution::none("only sockets of TCP and UDP can be looked for"),
            Err(error) => Attribution::none(format!("the kernel's sockets can't be looked at: {error}")),
        }
    }

    fn of_socket(&mut self, socket: &FlowSocket) -> Attribution {
        let (Holders { processes, complete }, missing) = match self.holders(socket.inode) {
            Ok(holders) if holders.processes.is_empty() => {
                (holders, Some("no process has the socket open any more".to_owned()))
            }
            Ok(holders) => (holders, None),
            Err(why) => (Holders::default(), Some(why)),
        };
        let missing: Vec<String> = socket.listens.then(|| LISTENER.to_owned()).into_iter().chain(missing).collect();
        let boot = now() - i128::from(kernel::boot_ns());
        Attribution {
            method: Method::Scan,
            user: Some(socket.user),
            cgroup: socket.cgroup.and_then(|id| self.groups.path(id)),
            senders: processes.iter().map(|process| sender(process, boot)).collect(),
            more: !complete,
            missing: (!missing.is_empty()).then(|| missing.join("; ")),
        }
    }

    fn holders(&mut self, inode: u64) -> Result<Holders, String> {
        if inode == 0 {
            return Err("the connection is over, or nobody has taken it yet".to_owned());
        }
        let began = Instant::now();
        if self.rested > began + AHEAD {
            return Err(self.silence.clone().unwrap_or_else(|| "too many were to be looked for at once".to_owned()));
        }
        let answer = self.helper.ask(&Question::Socket { inode, command: self.commands });
        let took = began.elapsed();
        if took > WORK {
            self.rested = self.rested.max(began) + 4 * took;
        }
        self.silence = None;
        match answer {
            Ok(Answer::Holders(holders)) => Ok(holders),
            Ok(_) => Err("no helper".to_owned()),
            Err(error) => {
                if let Some(why) = error.silence() {
                    self.rested = Instant::now() + AHEAD + AGAIN;
                    self.silence = Some(format!("no helper ({why})"));
                }
                Err(self.silence.clone().unwrap_or_else(|| error.field()))
            }
        }
    }
}

/// `boot`: when the host's clock of ticks began, UTC nanoseconds since 1970.
fn sender(process: &Process, boot: i128) -> Sender {
    let Process { pid, user, started, parent, login, name, executable, command, cgroup } = process;
    Sender {
        pid: *pid,
        started: i64::try_from(boot + i128::from(*started) * TICK).unwrap_or(i64::MAX),
        name: name.to_string(),
        executable: executable.to_string(),
        command: Some(command.to_string()).filter(|command| !command.is_empty()),
        user: *user,
        login: (*login != NO_LOGIN).then_some(*login),
        parent: *parent,
        cgroup: cgroup.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, thread};

    use super::*;
    use crate::{
        fake,
        helper::testing::{answer, listening},
        incidents::tests::Bench,
        model::incident::IncidentAlert,
    };

    /// The first alert on what goes from `local` to a port that nobody has.
    fn alert(local: SocketAddr) -> IncidentAlert {
        let made = Bench::new().event(fake::key(7, fake::OUTSIDE, 443), 1, fake::START).unwrap();
        let Alert::Incident(mut alert) = made else { panic!("{made:?}") };
        alert.incident.example = Some(Example {
            source: local.ip(),
            source_port: local.port(),
            destination: local.ip(),
            destination_port: 9,
            protocol: 17,
            interface: "lo".into(),
            decides: true,
        });
        *alert
    }

    fn of(attributor: &mut Attributor, alert: &IncidentAlert) -> Attribution {
        let Some(Alert::Incident(alert)) = attributor.attributed(&Alert::Incident(Box::new(alert.clone()))) else {
            panic!("it is attributed")
        };
        *alert.incident.attribution.unwrap()
    }

    #[test]
    fn each_incident_is_looked_up_once_and_what_was_found_is_told() {
        let (_folder, helper, listener) = listening();
        let answering = thread::spawn(move || {
            let process = Process { pid: 7, started: 100, login: NO_LOGIN, ..Process::default() };
            answer(&listener, |_| Answer::Holders(Holders { processes: vec![process], complete: true }))
        });
        let (found, socket) = (Arc::<Attributions>::default(), UdpSocket::bind("127.0.0.1:0").unwrap());
        let mut attributor = Attributor::new(&helper, false, Arc::clone(&found));
        let alert = alert(socket.local_addr().unwrap());
        let who = of(&mut attributor, &alert);
        assert!(matches!(answering.join().unwrap(), Question::Socket { inode: 1.., command: false }));
        assert_eq!(
            (who.method, who.user, who.missing.clone()),
            (Method::Scan, Some(rustix::process::geteuid().as_raw()), None)
        );
        let [sender] = &who.senders[..] else { panic!("{who:?}") };
        assert_eq!((sender.pid, sender.login, sender.command.as_ref()), (7, None, None));
        // A second after the boot.
        let boot = now() - i128::from(kernel::boot_ns());
        assert!((i128::from(sender.started) - boot - 1_000_000_000).abs() < 1_000_000_000, "{sender:?}");
        assert_eq!(found.take().into_iter().collect::<Vec<_>>(), [(alert.incident.id, who.clone())]);
        assert_eq!(found.counts(), [(Method::Scan, 1), (Method::Forwarded, 0), (Method::None, 0)]);
        // What is known, what is over and what is of many is not looked up.
        let incident = |change: fn(&mut IncidentAlert)| {
            let mut alert = alert.clone();
            change(&mut alert);
            Alert::Incident(Box::new(alert))
        };
        for alert in [
            incident(|alert| alert.incident.attribution = Some(Box::default())),
            incident(|alert| alert.stage = Stage::End),
            incident(|alert| alert.incident.kind = IncidentKind::Others),
            crate::engine::findings::notice(crate::model::FindingKind::Gap, "eth0", 0),
        ] {
            assert_eq!(attributor.attributed(&alert), None);
        }
        assert!(found.take().is_empty());
    }

    #[test]
    fn who_does_not_answer_is_left_alone_and_the_socket_says_what_it_can() {
        let (folder, helper, listener) = listening();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut attributor = Attributor::new(&helper, true, Arc::default());
        let alert = alert(socket.local_addr().unwrap());
        // Nobody takes the question.
        let who = of(&mut attributor, &alert);
        assert_eq!((who.method, who.senders.len(), who.more), (Method::Scan, 0, true));
        assert_eq!(who.missing.as_deref(), Some("no helper (no answer in time)"));
        // Somebody would now; he is not asked yet, and nobody waits.
        let began = Instant::now();
        assert_eq!(of(&mut attributor, &alert), who);
        assert!(began.elapsed() < PATIENCE);
        drop((folder, listener));
        attributor.rested = Instant::now();
        let gone = of(&mut attributor, &alert).missing.unwrap();
        assert!(gone.starts_with("no helper (No such file"), "{gone}");
    }

    #[test]
    fn whose_port_it_is_passes_for_nobody_who_has_the_connection() {
        let (_folder, helper, listener) = listening();
        let answering = thread::spawn(move || {
            let process = Process { pid: 7, ..Process::default() };
            answer(&listener, |_| Answer::Holders(Holders { processes: vec![process], complete: true }))
        });
        let mut attributor = Attributor::new(&helper, true, Arc::default());
        let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut alert = alert(service.local_addr().unwrap());
        alert.incident.example.as_mut().unwrap().protocol = 6;
        let who = of(&mut attributor, &alert);
        assert_eq!((who.method, who.senders.len(), who.missing.as_deref()), (Method::Scan, 1, Some(LISTENER)));
        answering.join().unwrap();
    }

    #[test]
    fn what_is_forwarded_or_has_no_socket_says_so() {
        let (_folder, helper, _listener) = listening();
        let mut attributor = Attributor::new(&helper, true, Arc::default());
        let gone = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut alert = alert(gone);
        assert_eq!(
            of(&mut attributor, &alert),
            Attribution::none("when it was looked for, no socket of the flow was there")
        );
        alert.incident.example.as_mut().unwrap().protocol = 132;
        assert_eq!(of(&mut attributor, &alert), Attribution::none("only sockets of TCP and UDP can be looked for"));
        alert.incident.source = Some(gone.ip());
        assert_eq!(of(&mut attributor, &alert), Attribution::forwarded());
    }
}
