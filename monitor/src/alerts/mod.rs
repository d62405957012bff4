//! Alerts as others read them: [`ocsf`] encodes. Called by the outbox and by the API.

pub mod ocsf;

#[cfg(test)]
mod tests;
