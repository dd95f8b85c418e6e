//! The dashboard: pages of our own in front of the API server's HTTP service, for a person's browser.
//!
//! [`guard`] decides what a request may be, [`session`] knows whom we let in, [`asset`] holds the pages, `serve`
//! listens on loopback and hands everything that is the API's to an [`apiserver::Handler`](crate::apiserver::Handler).
//! Nothing listens before somebody asked for the dashboard, and nothing here runs while no page is open. `memory` lets
//! pages that were left open go on after the daemon was started again.
//!
//! # Who gets in
//!
//! Whoever may talk to the daemon's control socket (root) gets a link with a ticket in its fragment, which browsers
//! send to nobody. The page changes it, once, for a cookie. Behind the cookie every request acts as the cluster's
//! admin; so pages of others must not be able to use it: names that are not of this machine are refused (DNS
//! rebinding), as are requests that another page made (`Origin`, `Sec-Fetch-Site`), and what pods serve is never
//! shown under our origin (no `proxy`).
//!
//! # What it adds to the API
//!
//! Browsers cannot set headers on a WebSocket. On watches the query's `accept` becomes the `Accept` header.

mod asset;
pub mod guard;
mod memory;
mod serve;
pub mod session;

pub use serve::Dashboard;
