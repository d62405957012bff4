//! Why somebody does something by hand: a line of text that goes on the record.

/// Longest reason, in bytes.
pub const MAX_REASON: usize = 500;

/// What is wrong with a reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReasonError {
    /// It goes on the record.
    #[error("what is done by hand needs a reason (--reason TEXT): it goes on the record")]
    None,
    /// It is to be read in one line.
    #[error("the reason has {0} bytes or is no line of text: write up to {MAX_REASON} without control characters")]
    NoLine(usize),
}

/// A reason as it was given, without blanks around it.
///
/// # Errors
/// There is none, or it is no line of text.
pub fn reason(given: Option<&str>) -> Result<&str, ReasonError> {
    let reason = given.map(str::trim).filter(|reason| !reason.is_empty()).ok_or(ReasonError::None)?;
    if reason.len() > MAX_REASON || reason.chars().any(char::is_control) {
        return Err(ReasonError::NoLine(reason.len()));
    }
    Ok(reason)
}
