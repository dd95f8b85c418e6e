//! Tokens of projected volumes: requested for the pod, renewed long before they end.

use super::Failed;
use crate::{
    api::{
        name::{Gvr, Key},
        object::Object,
    },
    node::{host::Host, spec},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, ServiceAccountTokenProjection};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const DEFAULT_SECONDS: i64 = 3600;
/// However long a token lives, it is renewed after this time.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(24);

/// The tokens of one pod, by volume and path.
#[derive(Clone, Debug, Default)]
pub struct Tokens(BTreeMap<(String, String), Issued>);

#[derive(Clone, Debug)]
struct Issued {
    value: String,
    refresh_at: Timestamp,
}

impl Tokens {
    #[must_use]
    pub fn refresh_at(&self) -> Option<Timestamp> {
        self.0.values().map(|issued| issued.refresh_at).min()
    }

    #[must_use]
    pub fn values(&self) -> BTreeMap<(String, String), String> {
        let all = self.0.iter();
        all.map(|(key, issued)| (key.clone(), issued.value.clone()))
            .collect()
    }

    /// Requests what is missing or due.
    pub async fn renew(&mut self, host: &Host, pod: &Pod, now: Timestamp) -> Result<(), Failed> {
        let spec = spec::of(pod);
        for volume in spec.volumes.iter().flatten() {
            let sources = volume.projected.iter();
            let sources = sources.flat_map(|projected| projected.sources.iter().flatten());
            for source in sources.filter_map(|source| source.service_account_token.as_ref()) {
                let key = (volume.name.clone(), source.path.clone());
                let known = self.0.get(&key);
                if known.is_some_and(|issued| now < issued.refresh_at) {
                    continue;
                }
                match request(host, pod, source, now).await {
                    Ok(issued) => drop(self.0.insert(key, issued)),
                    // The old one is good for some time.
                    Err(_) if known.is_some() => {}
                    Err(message) => {
                        let message = format!("failed to fetch token: {message}");
                        return Err(Failed::set_up(&volume.name, message));
                    }
                }
            }
        }
        Ok(())
    }
}

async fn request(
    host: &Host,
    pod: &Pod,
    source: &ServiceAccountTokenProjection,
    now: Timestamp,
) -> Result<Issued, String> {
    let spec = spec::of(pod);
    let account = spec.service_account_name.clone();
    let account = account.filter(|name| !name.is_empty());
    let account = account.unwrap_or_else(|| "default".to_owned());
    let seconds = source.expiration_seconds.unwrap_or(DEFAULT_SECONDS);
    let audience = source.audience.as_deref().unwrap_or_default();
    let audiences: Vec<&str> = [audience]
        .into_iter()
        .filter(|one| !one.is_empty())
        .collect();
    let key = pod.key();
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "metadata": {"namespace": key.namespace},
        "spec": {
            "audiences": audiences, "expirationSeconds": seconds,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": key.name, "uid": pod.uid()},
        },
    });
    let accounts = Gvr::new("", "v1", "serviceaccounts");
    let of = Key::new(key.namespace.as_str(), account.as_str());
    let answer = host.client.create_sub(accounts, &of, "token", body).await;
    let answer = answer.map_err(|failure| failure.to_string())?;
    let status = &answer["status"];
    let value = status["token"].as_str().map(str::to_owned);
    Ok(Issued {
        value: value.ok_or("the answer holds no token")?,
        refresh_at: refresh_at(now, expiry(status, now, seconds)),
    })
}

fn expiry(status: &Value, now: Timestamp, seconds: i64) -> Timestamp {
    let told = status["expirationTimestamp"].as_str();
    told.and_then(|text| text.parse().ok())
        .unwrap_or(now + SignedDuration::from_secs(seconds))
}

/// After four fifths of its life, at the latest after a day.
fn refresh_at(issued: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(issued);
    issued + (life / 5 * 4).min(AGE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal_comes_after_four_fifths() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(refresh_at(at(0), at(3600)), at(2880));
        assert_eq!(refresh_at(at(0), at(90 * 86_400)), at(86_400));
    }
}
