//! The kernel part's own debug lines (`run --kernel-log`), through aya-log into ours.

use std::io;

use aya_log::EbpfLogger;
use tokio::io::unix::AsyncFd;

use super::sys;

/// Hands aya-log's records to `tracing`.
struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }
    fn log(&self, record: &log::Record<'_>) {
        tracing::info!(target: "kernel", level = %record.level(), "{}", record.args());
    }
    fn flush(&self) {}
}

/// The debug lines that the kernel part writes if it is loaded with [`Options::debug_log`](super::Options::debug_log).
pub struct KernelLog(AsyncFd<EbpfLogger<ToTracing>>);

impl KernelLog {
    pub(super) fn new(ebpf: &mut aya::Ebpf) -> io::Result<Self> {
        let logger = EbpfLogger::init_with_logger(ebpf, ToTracing).map_err(io::Error::other)?;
        Ok(Self(sys::async_fd(logger)?))
    }

    /// Forwards lines until the runtime ends.
    ///
    /// # Errors
    /// The runtime's.
    pub async fn forward(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    }
}
