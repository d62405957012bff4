//! The one table of pages: the routers of both listeners, what the 404 names and `docs/schema/README.md` come from it.

use std::net::IpAddr;

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header::HOST},
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get, post},
};

use self::Gives::{Document, Other};
use super::{
    api::{Api, Control},
    error::ApiError,
    pages,
};
use crate::store::SharedState;

/// A page.
#[cfg_attr(not(test), expect(dead_code, reason = "read by the test that writes docs/schema/README.md"))]
pub(super) struct Page {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// What it takes behind the question mark.
    pub(super) parameters: &'static [&'static str],
    /// Whether the HTTP port has it; the control socket has all.
    pub(super) on_port: bool,
    /// Whether the 404 names it.
    pub(super) in_404: bool,
    /// What it gives.
    pub(super) gives: Gives,
    /// Who answers.
    answer: fn() -> MethodRouter<Api>,
}

/// What a page gives.
#[derive(Clone, Copy)]
#[cfg_attr(not(test), expect(dead_code, reason = "read by the test that writes docs/schema/README.md"))]
pub(super) enum Gives {
    /// A document of [`monitor_api`], by the name of its schema.
    Document(&'static str),
    /// Something else, in words.
    Other(&'static str),
}

impl Page {
    /// On both listeners.
    const fn open(
        path: &'static str,
        parameters: &'static [&'static str],
        gives: Gives,
        answer: fn() -> MethodRouter<Api>,
    ) -> Self {
        Self { method: "GET", path, parameters, on_port: true, in_404: false, gives, answer }
    }

    /// On the control socket alone.
    const fn closed(
        method: &'static str,
        path: &'static str,
        parameters: &'static [&'static str],
        gives: Gives,
        answer: fn() -> MethodRouter<Api>,
    ) -> Self {
        Self { method, path, parameters, on_port: false, in_404: false, gives, answer }
    }

    /// Named by the 404.
    const fn named(self) -> Self {
        Self { in_404: true, ..self }
    }
}

/// All pages.
pub(super) const PAGES: [Page; 11] = [
    Page::open("/metrics", &[], Other("Prometheus text"), || get(pages::metrics)).named(),
    Page::open("/healthz", &[], Other("text: the process serves"), || get(pages::healthz)),
    Page::open("/readyz", &[], Other("text: attached, and epochs are closed; 503 if not"), || get(pages::readyz)),
    Page::open("/api/v1/status", &["fresh"], Document("status"), || get(pages::status)).named(),
    Page::open("/api/v1/flows", &["by", "top", "verdict", "since", "fresh"], Document("flows"), || get(pages::flows))
        .named(),
    Page::open("/api/v1/rules", &["fresh"], Document("rules"), || get(pages::rules)).named(),
    Page::open("/api/v1/policy/shadow", &["top", "fresh"], Document("shadow"), || get(pages::shadow)),
    Page::open("/api/v1/alerts", &[], Document("alerts"), || get(pages::alerts)),
    Page::closed("POST", "/api/v1/policy/reload", &["confirm"], Document("reload"), || post(pages::reload_policy)),
    Page::closed("POST", "/api/v1/policy/confirm", &[], Document("reload"), || post(pages::confirm_policy)),
    Page::closed(
        "GET",
        "/api/v1/policy/image",
        &[],
        Other("the policy in force, as `diff --running` reads it"),
        || get(pages::policy_image),
    ),
];

/// The pages of one listener. With `control` it takes `fresh=1` and reloads; without, it only reads.
pub fn router(state: SharedState, control: Option<Control>, host: &str) -> Router {
    let all = control.is_some();
    let pages = PAGES.iter().filter(|page| all || page.on_port);
    let router = pages.fold(Router::new(), |router, page| router.route(page.path, (page.answer)()));
    let router = router.fallback(not_found).with_state(Api::new(state, control, host));
    if all { router } else { router.layer(from_fn(asked_by_its_name)) }
}

/// Refuses what a web page from elsewhere has a browser ask here (DNS rebinding): it is asked by that page's host name.
async fn asked_by_its_name(request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).map(|host| host.to_str().unwrap_or_default());
    if host.is_none_or(is_loopback) {
        return next.run(request).await;
    }
    let why = "the port is asked by the name localhost or by a loopback address, such as http://127.0.0.1:9477/metrics";
    ApiError::new(StatusCode::MISDIRECTED_REQUEST, why).into_response()
}

/// Whether a `Host` header (RFC 9110, 7.2) names this host's loopback.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

async fn not_found() -> ApiError {
    let named: Vec<&str> = PAGES.iter().filter(|page| page.in_404).map(|page| page.path).collect();
    ApiError::new(StatusCode::NOT_FOUND, format!("no such page; see {}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn loopback_by_name_and_address_and_nobody_else() {
        for host in ["localhost", "LOCALHOST:9477", "127.0.0.1", "127.0.0.1:9477", "127.9.9.9:1", "[::1]", "[::1]:9477"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "198.51.100.7:9477",
            "[::2]:9477",
            "::",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
