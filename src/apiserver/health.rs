//! `/healthz`, `/livez`, `/readyz` and their single checks.
//!
//! The checks bear upstream's names. In one process most of them cannot fail apart from it: only start and stop do.

use super::listen::answer::{self, Answer};
use crate::apiserver::request::options::Query;
use http::{HeaderValue, header};
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Default)]
pub struct Health {
    is_bootstrapped: AtomicBool,
    is_stopping: AtomicBool,
}

/// A check and the endpoints that ask it.
struct Check {
    name: &'static str,
    only_ready: bool,
    is_good: fn(&Health) -> bool,
}

const fn check(name: &'static str) -> Check {
    Check {
        name,
        only_ready: false,
        is_good: |_| true,
    }
}

const CHECKS: &[Check] = &[
    check("ping"),
    check("log"),
    check("etcd"),
    Check {
        only_ready: true,
        ..check("etcd-readiness")
    },
    Check {
        only_ready: true,
        ..check("informer-sync")
    },
    check("poststarthook/generic-apiserver-start-informers"),
    check("poststarthook/crd-informer-synced"),
    Check {
        is_good: |health| health.is_bootstrapped.load(Ordering::Relaxed),
        ..check("poststarthook/bootstrap-controller")
    },
    Check {
        is_good: |health| health.is_bootstrapped.load(Ordering::Relaxed),
        ..check("poststarthook/rbac/bootstrap-roles")
    },
    check("poststarthook/apiservice-registration-controller"),
    check("poststarthook/apiservice-openapi-controller"),
    check("autoregister-completion"),
    Check {
        only_ready: true,
        is_good: |health| !health.is_stopping.load(Ordering::Relaxed),
        ..check("shutdown")
    },
];

impl Health {
    pub fn bootstrapped(&self) {
        self.is_bootstrapped.store(true, Ordering::Relaxed);
    }

    pub fn stopping(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// `None` when the path is none of ours.
    pub fn answer(&self, path: &str, query: Option<&str>) -> Option<Answer> {
        let mut parts = path.trim_start_matches('/').splitn(2, '/');
        let endpoint = parts
            .next()
            .filter(|name| matches!(*name, "healthz" | "livez" | "readyz"))?;
        let asked = |check: &&Check| endpoint == "readyz" || !check.only_ready;
        let checks = CHECKS.iter().filter(asked);
        let mut answer = match parts.next().filter(|name| !name.is_empty()) {
            None => self.all(endpoint, checks, &Query::parse(query.unwrap_or_default())),
            Some(name) => self.one(checks.into_iter().find(|check| check.name == name)?),
        };
        let headers = answer.headers_mut();
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        Some(answer)
    }

    fn one(&self, check: &Check) -> Answer {
        match (check.is_good)(self) {
            true => answer::text(200, "ok"),
            false => answer::text(
                500,
                format!("internal server error: {} is not ready\n", check.name),
            ),
        }
    }

    fn all<'a>(
        &self,
        endpoint: &str,
        checks: impl Iterator<Item = &'a Check>,
        query: &Query,
    ) -> Answer {
        let mut excluded: Vec<&str> = query.all("exclude").collect();
        let mut lines = String::new();
        let mut is_good = true;
        for check in checks {
            let name = check.name;
            if excluded.contains(&name) {
                excluded.retain(|other| *other != name);
                lines.push_str(&format!("[+]{name} excluded: ok\n"));
            } else if (check.is_good)(self) {
                lines.push_str(&format!("[+]{name} ok\n"));
            } else {
                is_good = false;
                lines.push_str(&format!("[-]{name} failed: reason withheld\n"));
            }
        }
        if !excluded.is_empty() {
            let names: Vec<String> = excluded.iter().map(|name| format!("{name:?}")).collect();
            let names = names.join(", ");
            lines.push_str(&format!(
                "warn: some health checks cannot be excluded: no matches for {names}\n"
            ));
        }
        match (is_good, query.get("verbose").is_some()) {
            (true, false) => answer::text(200, "ok"),
            (true, true) => answer::text(200, format!("{lines}{endpoint} check passed\n")),
            (false, _) => answer::text(500, format!("{lines}{endpoint} check failed\n")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    async fn ask(health: &Health, path: &str, query: &str) -> (u16, String) {
        let answer = health.answer(path, Some(query)).unwrap();
        let code = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (code, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn ready_after_start_and_until_stop() {
        let health = Health::default();
        let (code, text) = ask(&health, "/readyz", "").await;
        assert_eq!(code, 500);
        assert!(text.contains("[-]poststarthook/rbac/bootstrap-roles failed: reason withheld\n"));
        assert!(text.ends_with("readyz check failed\n"));
        health.bootstrapped();
        assert_eq!(ask(&health, "/readyz", "").await, (200, "ok".to_owned()));
        health.stopping();
        assert_eq!(ask(&health, "/livez", "").await.0, 200);
        assert_eq!(ask(&health, "/readyz", "").await.0, 500);
        assert_eq!(ask(&health, "/readyz", "exclude=shutdown").await.0, 200);
    }

    #[tokio::test]
    async fn single_checks_and_verbose_text() {
        let health = Health::default();
        health.bootstrapped();
        assert_eq!(
            ask(&health, "/healthz/ping", "").await,
            (200, "ok".to_owned())
        );
        assert!(health.answer("/healthz/nonsense", None).is_none());
        assert!(health.answer("/version", None).is_none());
        let (_, text) = ask(&health, "/livez", "verbose&exclude=log&exclude=x").await;
        assert!(
            text.starts_with("[+]ping ok\n[+]log excluded: ok\n"),
            "{text}"
        );
        assert!(
            text.ends_with("no matches for \"x\"\nlivez check passed\n"),
            "{text}"
        );
    }
}
