//! Traffic without end, while something else goes on.

use std::{
    net::UdpSocket,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, Scope, ScopedJoinHandle},
    time::Duration,
};

use egress_monitor_tests::stage::Stage;

use super::lives::outside;

/// Datagrams between two looks at whether to go on.
const BURST: u64 = 32;

/// How long whoever would work without end rests each time where processors are emulated, and all others would have no time.
pub fn emulated() -> Duration {
    std::env::var("REST_MS").map_or(Duration::ZERO, |rest| Duration::from_millis(rest.parse().expect("milliseconds")))
}

/// Threads that send datagrams to the outside until it ends, or the test has failed.
pub struct Load<'scope> {
    shared: Arc<Shared>,
    senders: Vec<ScopedJoinHandle<'scope, ()>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    offered: AtomicU64,
    /// Held by whoever sends, and in the other way by whoever wants silence.
    sending: RwLock<()>,
}

impl<'scope> Load<'scope> {
    /// As fast as it goes.
    pub fn begin<'env: 'scope>(scope: &'scope Scope<'scope, 'env>, stage: &'env Stage, threads: usize) -> Self {
        Self::paced(scope, stage, threads, Duration::ZERO)
    }

    /// With a rest after each burst, a longer one where processors are emulated.
    pub fn paced<'env: 'scope>(
        scope: &'scope Scope<'scope, 'env>,
        stage: &'env Stage,
        threads: usize,
        rest: Duration,
    ) -> Self {
        let (shared, rest) = (Arc::<Shared>::default(), rest.max(emulated()));
        let sender = move |shared: Arc<Shared>| {
            let socket = stage.near.run(|| UdpSocket::bind(stage.from(outside()))).unwrap();
            while !shared.over.load(Ordering::Relaxed) {
                {
                    let _sending = shared.sending.read().unwrap();
                    for _ in 0..BURST {
                        // Refused: it was dropped, which is what is wanted.
                        let _ = socket.send_to(&[1; 64], outside());
                    }
                    shared.offered.fetch_add(BURST, Ordering::Relaxed);
                }
                if !rest.is_zero() {
                    thread::sleep(rest);
                }
            }
        };
        let begin = |_| {
            let shared = Arc::clone(&shared);
            scope.spawn(move || sender(shared))
        };
        Self { senders: (0..threads).map(begin).collect(), shared }
    }

    /// While nothing is sent: does it with what was offered so far.
    pub fn paused<T>(&self, work: impl FnOnce(u64) -> T) -> T {
        let _silence = self.shared.sending.write().unwrap();
        work(self.shared.offered.load(Ordering::Relaxed))
    }

    /// Ends it; what was offered in all.
    pub fn end(mut self) -> u64 {
        self.shared.over.store(true, Ordering::Relaxed);
        self.senders.drain(..).for_each(|sender| sender.join().unwrap());
        self.shared.offered.load(Ordering::Relaxed)
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}
