//! How long it takes from a flow's first packet until a receiver has said that it has the alert: a thousand flows, each to a
//! network of its own, by a webhook on the same host.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use egress_monitor_tests::{daemon::Daemon, stage::INTERFACE, wire::Networks};
use serde_json::Value;

use crate::{
    goal::Goal,
    pair::Pair,
    plan::Plan,
    rig::Base,
    spread::{Spread, Unit},
    table::Row,
};

pub const ROWS: &[&str] = &["alerts/first"];

const ROUNDS: usize = 5;
/// Countries, and networks in each: few enough for each to have an alert of its own.
const COUNTRIES: [&str; 32] = [
    "SG", "US", "CN", "IN", "BR", "JP", "KR", "AU", "CA", "MX", "ZA", "NG", "EG", "TR", "SA", "AE", "IL", "TH", "VN",
    "ID", "MY", "PH", "AR", "CL", "CO", "PE", "KE", "MA", "UA", "KZ", "PK", "NZ",
];
const NETWORKS: u32 = 32;
/// Between two flows.
const INTERVAL: Duration = Duration::from_millis(5);
/// For the last alert.
const PATIENCE: Duration = Duration::from_secs(30);

/// When the receiver said yes to the first alert on each destination.
type Answered = Arc<Mutex<HashMap<Ipv6Addr, Instant>>>;

pub fn run(plan: &Plan, _: &Base) -> Result<Vec<Row>> {
    let (mut half, mut most) = (Vec::new(), Vec::new());
    let flows = plan.repeat(NETWORKS) * COUNTRIES.len() as u32;
    for round in 0..plan.rounds(ROUNDS) {
        plan.say(&format!("first alerts: round {} of {}", round + 1, plan.rounds(ROUNDS)));
        let mut took = first_alerts(plan)?;
        ensure!(took.len() as u32 == flows, "{} alerts of {flows} flows", took.len());
        took.sort_unstable();
        half.push(took[took.len() / 2].as_secs_f64());
        most.push(took[took.len() * 99 / 100].as_secs_f64());
    }
    Ok(vec![
        Row::new(ROWS[0], "first alert, from the packet to a webhook's yes: p99", Spread::of(&most), Unit::Seconds)
            .with("p50", Spread::of(&half))
            .goal(Goal::AtMost(0.5))
            .note(format!(
                "{flows} flows a round to as many networks, one each {} ms; an alert is on disk before it is sent",
                INTERVAL.as_millis()
            )),
    ])
}

/// How long each of a round's took.
fn first_alerts(plan: &Plan) -> Result<Vec<Duration>> {
    let pair = Pair::new(Networks::number(12))?;
    pair.near.ip(&["route", "add", "2001:db8::/32", "via", &pair.wire.far.v6.to_string()])?;
    let listener = pair.near.run(|| TcpListener::bind("127.0.0.1:0")).context("the receiver's socket")?;
    let at = listener.local_addr()?;
    let (answered, done) = (Answered::default(), Arc::new(AtomicBool::new(false)));
    let (answers, end) = (Arc::clone(&answered), Arc::clone(&done));
    let receiver = std::thread::spawn(move || receive(&listener, &answers, &end));
    let daemon = Daemon::start(&pair.near, &config(at), &[])?;
    let socket = pair.near.run(|| UdpSocket::bind((pair.wire.near.v6, 0))).context("the sender's socket")?;
    let mut sent = Vec::new();
    for network in 0..plan.repeat(NETWORKS) {
        for country in 0..COUNTRIES.len() {
            let to = destination(country, network);
            sent.push((to, Instant::now()));
            socket.send_to(&[0; 64], (to, 9)).context("sending")?;
            std::thread::sleep(INTERVAL);
        }
    }
    let count = || answered.lock().unwrap_or_else(PoisonError::into_inner).len();
    let deadline = Instant::now() + PATIENCE;
    while count() < sent.len() && Instant::now() < deadline {
        plan.wait("the last alerts", Duration::from_millis(10))?;
    }
    let ended = daemon.stop()?;
    ensure!(ended.status.success(), "the daemon ended with {}", ended.status);
    done.store(true, Ordering::Relaxed);
    // One more connection, which it sees that by.
    drop(pair.near.run(|| TcpStream::connect(at)));
    receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let answered = answered.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(sent.iter().filter_map(|(to, at)| Some(answered.get(to)?.duration_since(*at))).collect())
}

/// An address in a network of its own, in a country.
fn destination(country: usize, network: u32) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, ((0x40 + country as u16) << 8) | network as u16, 0, 0, 0, 0, 1)
}

fn config(receiver: SocketAddr) -> String {
    let mut text = format!(
        "[monitor]\ninterfaces = [\"{INTERFACE}\"]\n[[alerts.webhook]]\nname = \"bench\"\nurl = \"http://{receiver}/\"\n"
    );
    for (number, country) in COUNTRIES.iter().enumerate() {
        text += &format!(
            "[[site]]\nname = \"{}\"\ncountry = \"{country}\"\nnetworks = [\"{}/40\"]\n",
            country.to_lowercase(),
            Ipv6Addr::new(0x2001, 0xdb8, (0x40 + number as u16) << 8, 0, 0, 0, 0, 0)
        );
    }
    text
}

/// Says yes to everything, one connection after the other.
fn receive(listener: &TcpListener, answered: &Answered, done: &AtomicBool) -> Result<()> {
    for stream in listener.incoming() {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let mut stream = BufReader::new(stream.context("a connection")?);
        while let Some(alert) = request(&mut stream)? {
            stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").context("answering")?;
            let at = Instant::now();
            let to = alert["dst_endpoint"]["ip"].as_str().and_then(|to| to.parse().ok());
            if let Some(to) = to.filter(|_| alert["class_uid"] == 4001) {
                answered.lock().unwrap_or_else(PoisonError::into_inner).entry(to).or_insert(at);
            }
        }
    }
    Ok(())
}

/// The body of a request; none where there are no more.
fn request(stream: &mut BufReader<TcpStream>) -> Result<Option<Value>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        // One that is cut off is none, as at the daemon's end.
        if stream.read_line(&mut line).unwrap_or(0) == 0 {
            return Ok(None);
        }
        match line.to_ascii_lowercase().trim_end().split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().context("a length")?,
            None if line == "\r\n" => break,
            Some(_) | None => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).context("a request")?;
    serde_json::from_slice(&body).map(Some).context("an alert")
}
