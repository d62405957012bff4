//! Traffic without end, while something else goes on.

use std::{
    net::UdpSocket,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{Scope, ScopedJoinHandle},
};

use egress_monitor_tests::stage::Stage;

use super::lives::outside;

/// Threads that send datagrams to the outside until it ends, or the test has failed.
pub struct Load<'scope> {
    over: Arc<AtomicBool>,
    senders: Vec<ScopedJoinHandle<'scope, u64>>,
}

impl<'scope> Load<'scope> {
    pub fn begin<'env: 'scope>(scope: &'scope Scope<'scope, 'env>, stage: &'env Stage, threads: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let sender = move |over: Arc<AtomicBool>| {
            let socket = stage.near.run(|| UdpSocket::bind(stage.from(outside()))).unwrap();
            let mut offered = 0;
            while !over.load(Ordering::Relaxed) {
                // Refused: it was dropped, which is what is wanted.
                let _ = socket.send_to(&[1; 64], outside());
                offered += 1;
            }
            offered
        };
        let begin = |_| {
            let over = Arc::clone(&over);
            scope.spawn(move || sender(over))
        };
        Self { senders: (0..threads).map(begin).collect(), over }
    }

    /// Ends it; what was offered in all.
    pub fn end(mut self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.senders.drain(..).map(|sender| sender.join().unwrap()).sum()
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}
