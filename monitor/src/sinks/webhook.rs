//! Lines to an HTTP receiver, with its answer as the receipt. At least once. As JSON, one alert a request; or as NDJSON
//! (`application/x-ndjson`), many, as Vector, Fluent Bit and Logstash take it. Signed by the Standard Webhooks, where there
//! is a secret.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};

use super::{
    About, Failure, Line, Sink,
    http::{Answer, Receiver, Verdict},
    secret::{Secret, read},
};
use crate::model::{
    delivery::Promise,
    now,
    receiver::{Http, Place},
};
use monitor_policy::text::hex;

/// See the module.
pub struct Webhook {
    about: About,
    receiver: Receiver,
    /// Many lines a request, or one alert.
    ndjson: bool,
    secret: Option<Place>,
    token: Option<Place>,
    /// What was read of these.
    keys: Option<Keys>,
    /// Lines that a request has at most: fewer, once one was too large.
    most: usize,
}

/// What a request is signed by, and what it shows.
struct Keys {
    signing: Option<Secret>,
    token: Option<Secret>,
}

impl Webhook {
    /// One. What its secrets are is read when there is something to send, and anew after [`Sink::reopen`].
    pub fn new(name: &str, at: Http, ndjson: bool, secret: Option<Place>) -> Self {
        let receiver = Receiver::new(at.url, at.ca);
        let about = About::receiver(name, "webhook", Promise::AtLeastOnce);
        Self { about, receiver, ndjson, secret, token: at.token, keys: None, most: usize::MAX }
    }

    fn post(&mut self, lines: &[Line<'_>]) -> Result<Answer, String> {
        let (kind, body) = match lines {
            [(_, line)] if !self.ndjson => ("application/json", line.trim_ascii_end().to_vec()),
            _ => ("application/x-ndjson", lines.iter().flat_map(|(_, line)| line.iter().copied()).collect()),
        };
        let keys = match &self.keys {
            Some(keys) => keys,
            None => {
                let signing = self.secret.as_ref().map(|place| key(&read(place)?)).transpose()?;
                self.keys.insert(Keys { signing, token: self.token.as_ref().map(read).transpose()? })
            }
        };
        let id = id(&body);
        let seconds = (now() / 1_000_000_000) as i64;
        let mut headers = vec![("webhook-id", id.clone()), ("webhook-timestamp", seconds.to_string())];
        if let Some(key) = &keys.signing {
            headers.push(("webhook-signature", signature(key, &id, seconds, &body)?));
        }
        if let Some(token) = &keys.token {
            headers.push(bearer(token)?);
        }
        self.receiver.post(kind, &headers, body)
    }
}

/// The header that shows a token.
pub(super) fn bearer(token: &Secret) -> Result<(&'static str, String), String> {
    Ok(("authorization", format!("Bearer {}", token.text()?)))
}

/// The same for the same body, however often it is sent: a line has host and sequence.
fn id(body: &[u8]) -> String {
    format!("msg_{}", hex(&Sha256::digest(body)[..16]))
}

/// The header of the Standard Webhooks: `v1,` and the HMAC-SHA256 of id, time and body.
fn signature(key: &Secret, id: &str, seconds: i64, body: &[u8]) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.bytes()).map_err(|error| error.to_string())?;
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

/// The key of a secret of the Standard Webhooks: `whsec_` and base64.
///
/// # Errors
/// It is none.
pub fn key(secret: &Secret) -> Result<Secret, String> {
    let wrong = || "the secret is not whsec_ and base64, as the Standard Webhooks have it".to_owned();
    let encoded = secret.text()?.strip_prefix("whsec_").ok_or_else(wrong)?;
    let key = STANDARD.decode(encoded).map_err(|_| wrong())?;
    if key.len() < 24 { Err("the secret's key is shorter than 24 bytes".to_owned()) } else { Ok(Secret::new(key)) }
}

impl Sink for Webhook {
    fn about(&self) -> &About {
        &self.about
    }

    fn deliver(&mut self, lines: &[Line<'_>]) -> Result<String, Failure> {
        let (mut taken, mut said) = (0, String::new());
        while taken < lines.len() {
            let most = if self.ndjson { self.most.max(1) } else { 1 };
            let next = &lines[taken..lines.len().min(taken.saturating_add(most))];
            let answer = self.post(next).map_err(|why| Failure::later(taken, why))?;
            match answer.verdict() {
                Verdict::Taken => {
                    taken += next.len();
                    self.most = self.most.saturating_mul(2);
                    said = answer.shown();
                }
                // Which of them it is, or that they are too many, is found by asking for fewer.
                Verdict::ForGood if next.len() > 1 => self.most = next.len() / 2,
                verdict => {
                    let for_good = verdict == Verdict::ForGood;
                    return Err(Failure { taken, why: answer.shown(), for_good, after: answer.after });
                }
            }
        }
        Ok(said)
    }

    fn reopen(&mut self) {
        self.keys = None;
        self.receiver.reopen();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's own libraries.
    #[test]
    fn the_signature_is_that_of_the_standard_webhooks() {
        let secret = Secret::new(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_vec());
        let body = br#"{"test": 2432232314}"#;
        let signed = signature(&key(&secret).unwrap(), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body).unwrap();
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_of_another_form_is_refused_and_not_shown() {
        for secret in ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_?", "whsec_c2hvcnQ="] {
            let error = key(&Secret::new(secret.as_bytes().to_vec())).unwrap_err();
            assert!(!error.contains(secret), "{error}");
        }
    }

    #[test]
    fn the_same_body_has_the_same_id() {
        assert_eq!(id(b"a"), id(b"a"));
        assert_ne!(id(b"a"), id(b"b"));
    }
}
