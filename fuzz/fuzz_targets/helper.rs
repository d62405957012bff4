//! Messages of the helper's socket, from either side: what is read as a question or an answer says exactly that, and
//! everything else is refused.

#![no_main]

use egress_monitor::helper::{Answer, Question};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(question) = Question::decode(bytes) {
        assert_eq!(question.encode(), bytes);
    }
    if let Ok(answer) = Answer::decode(bytes) {
        assert_eq!(answer.encode(), bytes);
    }
});
