//! The one table of pages: the routers of both listeners, what the 404 names and `docs/schema/README.md` come from it.

use axum::{
    Router,
    routing::{MethodRouter, get, post},
};

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

/// All pages.
pub(super) const PAGES: [Page; 11] = [
    Page {
        method: "GET",
        path: "/metrics",
        parameters: &[],
        on_port: true,
        in_404: true,
        gives: Gives::Other("Prometheus text"),
        answer: || get(pages::metrics),
    },
    Page {
        method: "GET",
        path: "/healthz",
        parameters: &[],
        on_port: true,
        in_404: false,
        gives: Gives::Other("text: the process serves"),
        answer: || get(pages::healthz),
    },
    Page {
        method: "GET",
        path: "/readyz",
        parameters: &[],
        on_port: true,
        in_404: false,
        gives: Gives::Other("text: attached, and epochs are closed; 503 if not"),
        answer: || get(pages::readyz),
    },
    Page {
        method: "GET",
        path: "/api/v1/status",
        parameters: &["fresh"],
        on_port: true,
        in_404: true,
        gives: Gives::Document("status"),
        answer: || get(pages::status),
    },
    Page {
        method: "GET",
        path: "/api/v1/flows",
        parameters: &["by", "top", "verdict", "since", "fresh"],
        on_port: true,
        in_404: true,
        gives: Gives::Document("flows"),
        answer: || get(pages::flows),
    },
    Page {
        method: "GET",
        path: "/api/v1/rules",
        parameters: &["fresh"],
        on_port: true,
        in_404: true,
        gives: Gives::Document("rules"),
        answer: || get(pages::rules),
    },
    Page {
        method: "GET",
        path: "/api/v1/policy/shadow",
        parameters: &["top", "fresh"],
        on_port: true,
        in_404: false,
        gives: Gives::Document("shadow"),
        answer: || get(pages::shadow),
    },
    Page {
        method: "GET",
        path: "/api/v1/alerts",
        parameters: &[],
        on_port: true,
        in_404: false,
        gives: Gives::Document("alerts"),
        answer: || get(pages::alerts),
    },
    Page {
        method: "POST",
        path: "/api/v1/policy/reload",
        parameters: &["confirm"],
        on_port: false,
        in_404: false,
        gives: Gives::Document("reload"),
        answer: || post(pages::reload_policy),
    },
    Page {
        method: "POST",
        path: "/api/v1/policy/confirm",
        parameters: &[],
        on_port: false,
        in_404: false,
        gives: Gives::Document("reload"),
        answer: || post(pages::confirm_policy),
    },
    Page {
        method: "GET",
        path: "/api/v1/policy/image",
        parameters: &[],
        on_port: false,
        in_404: false,
        gives: Gives::Other("the policy in force, as `diff --running` reads it"),
        answer: || get(pages::policy_image),
    },
];

/// The pages of one listener. With `control` it takes `fresh=1` and reloads; without, it only reads.
pub fn router(state: SharedState, control: Option<Control>, host: &str) -> Router {
    let all = control.is_some();
    let pages = PAGES.iter().filter(|page| all || page.on_port);
    let router = pages.fold(Router::new(), |router, page| router.route(page.path, (page.answer)()));
    router.fallback(not_found).with_state(Api::new(state, control, host))
}

async fn not_found() -> ApiError {
    let named: Vec<&str> = PAGES.iter().filter(|page| page.in_404).map(|page| page.path).collect();
    ApiError::NotFound(format!("no such page; see {}", named.join(", ")))
}
