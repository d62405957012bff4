//! Commands that ask a daemon, where none answers as it should.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixListener,
    thread,
};

use crate::run;

#[test]
fn a_daemon_that_is_not_there_or_does_not_answer_as_asked_is_exit_code_69_and_one_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("control.sock");
    let shown = socket.display().to_string();
    let asked = |complaint: &str| {
        let ran = run(&["flows", "--socket", &shown]);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (Some(69), "", 1), "{}", ran.err);
        assert!(ran.err.contains(complaint) && ran.err.contains(&shown), "{}", ran.err);
    };
    asked("no daemon answers on");
    let listener = UnixListener::bind(&socket).expect("a socket");
    for (answer, complaint) in [
        ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 17\r\n\r\n{\"error\":\"later\"}", "refuses: later"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "answers in another form"),
        ("", "talking to"),
    ] {
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().expect("asked");
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).expect("a head");
                    head.extend(byte);
                }
                stream.write_all(answer.as_bytes()).expect("written");
            });
            asked(complaint);
        });
    }
}

#[test]
fn without_a_daemon_it_is_said_that_nothing_is_counted_or_dropped() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("config.toml");
    let path = directory.path().display();
    std::fs::write(&config, format!("[paths]\nruntime = \"{path}/run\"\nbpffs = \"{path}/pins\"\n")).expect("written");
    let ran = run(&["status", "--config", &config.display().to_string()]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(69), ""));
    assert_eq!(
        ran.err,
        format!(
            "egress-monitor: no daemon answers on {path}/run/control.sock: start it with `egress-monitor run`, or name its \
             socket with --socket; nothing is counted or dropped now\n"
        )
    );
}
