//! The one table of pages, with the role that each takes: the routers of all roles, what the 404 names and
//! `docs/schema/README.md` come from it.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Query, Request},
    http::{StatusCode, Uri, header::HOST},
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, get, post},
};

use monitor_api::{
    alerts::{ACKNOWLEDGE, PAGE as ALERTS},
    changes::PAGE as CHANGES,
    reload::{MAX_CANDIDATE, TRIAL, TRY},
};

use self::Gives::{Document, Other};
use super::{
    api::{Api, Control},
    error::ApiError,
    pages,
    roles::{
        Access,
        Role::{self, Auditor, Metrics, Root, Security},
    },
};
use crate::store::SharedState;

/// A page.
#[cfg_attr(not(test), expect(dead_code, reason = "read by the test that writes docs/schema/README.md"))]
pub(super) struct Page {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// Who may ask for it.
    pub(super) role: Role,
    /// What it takes behind the question mark, and from whom.
    pub(super) parameters: &'static [(&'static str, Role)],
    /// Whether the 404 names it.
    pub(super) in_404: bool,
    /// Whether it has places of its own.
    scraped: bool,
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

/// Closes the epoch first.
const FRESH: (&str, Role) = ("fresh", Auditor);

impl Page {
    /// One to be read.
    const fn read(
        path: &'static str,
        role: Role,
        parameters: &'static [(&'static str, Role)],
        gives: Gives,
        answer: fn() -> MethodRouter<Api>,
    ) -> Self {
        Self { method: "GET", path, role, parameters, in_404: false, scraped: false, gives, answer }
    }

    /// One that changes something.
    const fn change(
        path: &'static str,
        parameters: &'static [(&'static str, Role)],
        gives: Gives,
        answer: fn() -> MethodRouter<Api>,
    ) -> Self {
        Self { method: "POST", ..Self::read(path, Root, parameters, gives, answer) }
    }

    /// Named by the 404.
    const fn named(self) -> Self {
        Self { in_404: true, ..self }
    }

    /// What watches the monitor asks for it.
    const fn scraped(self) -> Self {
        Self { scraped: true, ..self }
    }

    /// Why it is not given to who asks so.
    fn refuses(&self, api: &Api, uri: &Uri) -> Option<ApiError> {
        let refused = |what: &str, needs: Role| {
            let why = || api.access.refusal(what, needs, api.role);
            (api.role < Some(needs)).then(|| ApiError::new(StatusCode::FORBIDDEN, why()))
        };
        refused(self.path, self.role).or_else(|| {
            // Decoded as it is for the page. What can't be read it refuses itself.
            let Query(asked) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
            let parameters = self.parameters.iter().filter(|(name, _)| asked.iter().any(|(there, _)| there == name));
            parameters.map(|(name, needs)| refused(&format!("{}?{name}", self.path), *needs)).find_map(|why| why)
        })
    }
}

/// All pages.
pub(super) const PAGES: [Page; 24] = [
    Page::read("/metrics", Metrics, &[], Other("Prometheus text"), || get(pages::metrics)).named().scraped(),
    Page::read("/healthz", Metrics, &[], Other("text: the process serves"), || get(pages::healthz)).scraped(),
    Page::read("/readyz", Metrics, &[], Other("text: attached, and epochs are closed; 503 if not"), || {
        get(pages::readyz)
    })
    .scraped(),
    Page::read("/api/v1/status", Metrics, &[FRESH], Document("status"), || get(pages::status)).named(),
    Page::read(
        "/api/v1/totals",
        Metrics,
        &[
            ("by", Metrics),
            ("top", Metrics),
            ("verdict", Metrics),
            ("country", Metrics),
            ("class", Metrics),
            ("rule", Metrics),
            ("would_drop", Metrics),
            ("since", Auditor),
            ("until", Auditor),
            FRESH,
        ],
        Document("flows"),
        || get(pages::totals),
    )
    .named(),
    Page::read(
        "/api/v1/flows",
        Security,
        &[
            ("by", Security),
            ("top", Security),
            ("verdict", Security),
            ("country", Security),
            ("class", Security),
            ("rule", Security),
            ("source", Security),
            ("peer", Security),
            ("port", Security),
            ("interface", Security),
            ("would_drop", Security),
            ("active", Security),
            ("since", Security),
            ("until", Security),
            ("fresh", Security),
        ],
        Document("flows"),
        || get(pages::flows),
    )
    .named(),
    Page::read("/api/v1/rules", Auditor, &[FRESH], Document("rules"), || get(pages::rules)).named(),
    Page::read(
        "/api/v1/policy/shadow",
        Security,
        &[("top", Security), ("fresh", Security)],
        Document("shadow"),
        || get(pages::shadow),
    ),
    Page::read(
        ALERTS,
        Security,
        &[
            ("after", Security),
            ("limit", Security),
            ("since", Security),
            ("severity", Security),
            ("type", Security),
            ("country", Security),
        ],
        Document("alerts"),
        || get(pages::alerts),
    ),
    Page::change(ACKNOWLEDGE, &[("id", Root), ("note", Root)], Document("alerts-ack"), || post(pages::acknowledge)),
    Page::read("/api/v1/incidents", Security, &[FRESH], Document("incidents"), || get(pages::incidents)).named(),
    Page::read("/api/v1/incident", Security, &[("id", Security), FRESH], Document("incident"), || get(pages::incident)),
    Page::read("/api/v1/sinks", Security, &[], Document("sinks"), || get(pages::sinks)),
    Page::change("/api/v1/sinks/test", &[("sink", Root)], Document("sinks-test"), || post(pages::test_sink)),
    Page::change("/api/v1/policy/reload", &[("confirm", Root)], Document("reload"), || post(pages::reload_policy)),
    Page::change(TRY, &[("seconds", Root)], Document("reload"), || {
        post(pages::try_policy).layer(DefaultBodyLimit::max(MAX_CANDIDATE))
    }),
    Page::read(TRIAL, Root, &[], Document("trial"), || get(pages::trial)),
    Page::change("/api/v1/policy/confirm", &[("policy", Root)], Document("reload"), || post(pages::confirm_policy)),
    Page::read("/api/v1/mode", Auditor, &[], Document("mode"), || get(pages::mode)),
    Page::change(
        "/api/v1/policy/mode",
        &[("mode", Root), ("seconds", Root), ("reason", Root)],
        Document("mode"),
        || post(pages::set_mode),
    ),
    Page::read(CHANGES, Auditor, &[("since", Auditor)], Document("changes"), || get(pages::changes)),
    Page::read("/api/v1/clock", Metrics, &[], Document("clock"), || get(pages::clock)),
    Page::change("/api/v1/clock/reset", &[("reason", Root)], Document("clock"), || post(pages::reset_clock)),
    Page::read(
        "/api/v1/policy/image",
        Auditor,
        &[],
        Other("the policy in force, as `diff --running` reads it"),
        || get(pages::policy_image),
    ),
];

/// Whether a path is that of a page with places of its own.
pub(super) fn is_scrape(path: &str) -> bool {
    PAGES.iter().any(|page| page.scraped && page.path == path)
}

/// The pages for one role; what it may not ask for is refused. Without `control` it is the port's.
pub(super) fn router(
    state: SharedState,
    access: &Arc<Access>,
    role: Option<Role>,
    control: Option<Control>,
    host: &str,
) -> Router {
    let on_port = control.is_none();
    let api = Api::new(state, access, role, control, host);
    let router = PAGES.iter().fold(Router::new(), |router, page| {
        let own = api.clone();
        let guard = move |request: Request, next: Next| {
            let refused = page.refuses(&own, request.uri());
            async move {
                match refused {
                    Some(refused) => refused.into_response(),
                    None => next.run(request).await,
                }
            }
        };
        router.route(page.path, (page.answer)().layer(from_fn(guard)))
    });
    let router = router.fallback(not_found).with_state(api);
    if on_port { router.layer(from_fn(asked_by_its_name)) } else { router }
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
    ApiError::new(StatusCode::NOT_FOUND, format!("not found; there are {}", named.join(", ")))
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
