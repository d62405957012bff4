//! Named tasks: started in order, stopped in the opposite order within one time budget. Called by `running`. A task
//! that ends while nobody asked it to is a reason to stop, with its name.

use std::{collections::HashMap, future::Future, time::Duration};

use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// How a task ended.
#[derive(Debug)]
pub struct Ended {
    /// Its name.
    pub name: &'static str,
    /// What it returned; a panic is an error.
    pub outcome: anyhow::Result<()>,
}

/// What a shutdown met with.
#[derive(Debug, Default)]
pub struct Shutdown {
    /// Tasks that failed.
    pub failed: Vec<(&'static str, String)>,
    /// Tasks that did not end in time and were given up.
    pub late: Vec<&'static str>,
}

impl Shutdown {
    /// Whether everything ended in time and well.
    pub fn is_clean(&self) -> bool {
        self.failed.is_empty() && self.late.is_empty()
    }
}

/// The daemon's tasks.
#[derive(Debug, Default)]
pub struct Supervisor {
    tasks: JoinSet<anyhow::Result<()>>,
    /// In the order of their start.
    running: Vec<(Id, &'static str, CancellationToken)>,
}

impl Supervisor {
    /// Starts a task. `make` gets the token that tells it to end.
    pub fn spawn<F>(&mut self, name: &'static str, make: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let token = CancellationToken::new();
        let handle = self.tasks.spawn(make(token.clone()));
        self.running.push((handle.id(), name, token));
    }

    /// Waits until a task ends, which none should before [`shutdown`](Self::shutdown). Pending for ever without
    /// tasks.
    pub async fn ended(&mut self) -> Ended {
        match self.tasks.join_next_with_id().await {
            Some(result) => self.reap(result),
            None => std::future::pending().await,
        }
    }

    /// Ends the tasks, latest first, each asked only when those started after it have ended.
    pub async fn shutdown(mut self, budget: Duration) -> Shutdown {
        let deadline = Instant::now() + budget;
        let mut result = Shutdown::default();
        let mut early: HashMap<Id, Ended> = HashMap::new();
        while let Some((id, name, token)) = self.running.last().cloned() {
            token.cancel();
            let ended = loop {
                if let Some(ended) = early.remove(&id) {
                    break Some(ended);
                }
                match timeout_at(deadline, self.tasks.join_next_with_id()).await {
                    Ok(Some(joined)) => {
                        let of = match &joined {
                            Ok((of, _)) => *of,
                            Err(error) => error.id(),
                        };
                        let ended = self.reap(joined);
                        early.insert(of, ended);
                    }
                    // Not one task left, or out of time.
                    Ok(None) | Err(_) => break None,
                }
            };
            self.running.retain(|(other, ..)| *other != id);
            match ended {
                Some(Ended { outcome: Ok(()), .. }) => {}
                Some(Ended { name, outcome: Err(error) }) => result.failed.push((name, format!("{error:#}"))),
                None => result.late.push(name),
            }
        }
        // Those that ended by themselves while another was waited for, and badly.
        for ended in early.into_values() {
            if let Err(error) = ended.outcome {
                result.failed.push((ended.name, format!("{error:#}")));
            }
        }
        self.tasks.abort_all();
        result
    }

    fn reap(&mut self, joined: Result<(Id, anyhow::Result<()>), JoinError>) -> Ended {
        let (id, outcome) = match joined {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(anyhow::anyhow!("panicked: {error}"))),
        };
        let at = self.running.iter().position(|(other, ..)| *other == id);
        let name = at.map_or("unnamed", |at| self.running.remove(at).1);
        Ended { name, outcome }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn tasks_end_latest_first_and_each_only_when_the_later_ones_have_ended() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut supervisor = Supervisor::default();
        for name in ["first", "second", "third"] {
            let order = Arc::clone(&order);
            supervisor.spawn(name, |stop| async move {
                stop.cancelled().await;
                order.lock().unwrap().push((name, "asked"));
                tokio::task::yield_now().await;
                order.lock().unwrap().push((name, "ended"));
                Ok(())
            });
        }
        assert!(supervisor.shutdown(Duration::from_secs(5)).await.is_clean());
        let expected = ["third", "second", "first"].map(|name| [(name, "asked"), (name, "ended")]).concat();
        assert_eq!(*order.lock().unwrap(), expected);
    }

    #[tokio::test]
    async fn a_task_that_ends_by_itself_is_named_with_its_error_or_panic() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn("steady", |stop| async move {
            stop.cancelled().await;
            Ok(())
        });
        supervisor.spawn("broken", |_| async { Err(anyhow::anyhow!("no more")) });
        let ended = supervisor.ended().await;
        assert_eq!((ended.name, ended.outcome.unwrap_err().to_string().as_str()), ("broken", "no more"));
        supervisor.spawn("wild", |_| async { panic!("at the disco") });
        let ended = supervisor.ended().await;
        assert_eq!(ended.name, "wild");
        assert!(ended.outcome.unwrap_err().to_string().contains("at the disco"));
        assert!(supervisor.shutdown(Duration::from_secs(5)).await.is_clean());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_end_is_given_up_when_the_budget_is_used_and_named() {
        let mut supervisor = Supervisor::default();
        supervisor.spawn("quick", |stop| async move {
            stop.cancelled().await;
            Ok(())
        });
        supervisor.spawn("stuck", |_| std::future::pending());
        let started = Instant::now();
        let result = supervisor.shutdown(Duration::from_secs(3)).await;
        assert_eq!(result.late.first(), Some(&"stuck"));
        assert!(result.failed.is_empty());
        assert!(started.elapsed() <= Duration::from_secs(4));
    }
}
