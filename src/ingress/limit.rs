//! `limit-rps`, `limit-rpm`, `limit-connections`: how much one client address may ask of one Ingress.
//!
//! As nginx' `limit_req` without delay: a bucket that leaks at the rate and overflows at rate times burst. Only routes
//! with a limit come here.

use super::{option::Limit, table};
use crate::api::name::Key;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
};
use tokio::time::Instant;

/// Clients remembered; when there are more, all are forgotten.
const CLIENTS_MAX: usize = 16_384;

type Client = (Key, IpAddr);

#[derive(Default)]
pub struct Limits(Arc<Mutex<HashMap<Client, Account>>>);

struct Account {
    second: Bucket,
    minute: Bucket,
    requests: u32,
}

struct Bucket {
    excess: f64,
    at: Instant,
}

/// A request under way. Ends with its answer.
pub struct Guard {
    client: Client,
    accounts: Arc<Mutex<HashMap<Client, Account>>>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut accounts = self.accounts.lock().expect("no panic while locked");
        if let Some(account) = accounts.get_mut(&self.client) {
            account.requests = account.requests.saturating_sub(1);
        }
    }
}

impl Limits {
    /// `Err` when the client has asked for too much.
    pub fn admit(
        &self,
        ingress: &Key,
        limit: &Limit,
        client: IpAddr,
        now: Instant,
    ) -> Result<Option<Guard>, ()> {
        if !limit.is_set() || table::is_in(&limit.exempt, client) {
            return Ok(None);
        }
        let client = (ingress.clone(), client);
        let mut accounts = self.0.lock().expect("no panic while locked");
        if accounts.len() >= CLIENTS_MAX && !accounts.contains_key(&client) {
            accounts.clear();
        }
        let account = accounts.entry(client.clone()).or_insert_with(|| Account {
            second: Bucket {
                excess: -1.0,
                at: now,
            },
            minute: Bucket {
                excess: -1.0,
                at: now,
            },
            requests: 0,
        });
        if limit.connections.is_some_and(|max| account.requests >= max) {
            return Err(());
        }
        let burst = f64::from(limit.burst);
        for (count, seconds, bucket) in [
            (limit.per_second, 1.0, &mut account.second),
            (limit.per_minute, 60.0, &mut account.minute),
        ] {
            let Some(count) = count.map(f64::from) else {
                continue;
            };
            if !bucket.take(count / seconds, count * burst, now) {
                return Err(());
            }
        }
        account.requests += 1;
        Ok(Some(Guard {
            client,
            accounts: Arc::clone(&self.0),
        }))
    }
}

impl Bucket {
    fn take(&mut self, rate: f64, burst: f64, now: Instant) -> bool {
        let passed = now.duration_since(self.at).as_secs_f64();
        let excess = (self.excess - rate * passed).max(-1.0) + 1.0;
        if excess > burst {
            return false;
        }
        (self.excess, self.at) = (excess, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::option::Options;
    use std::time::Duration;

    fn admitted(limits: &Limits, limit: &Limit, client: &str, now: Instant) -> bool {
        let guard = limits.admit(&Key::new("a", "b"), limit, client.parse().unwrap(), now);
        guard.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_the_rate() {
        let limits = Limits::default();
        let limit = Limit {
            per_second: Some(2),
            ..Options::default().limit
        };
        let now = Instant::now();
        let count = (0..50)
            .filter(|_| admitted(&limits, &limit, "10.0.0.1", now))
            .count();
        assert_eq!(count, 11);
        assert!(admitted(&limits, &limit, "10.0.0.2", now));
        let later = now + Duration::from_secs(2);
        let count = (0..50)
            .filter(|_| admitted(&limits, &limit, "10.0.0.1", later))
            .count();
        assert_eq!(count, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_at_once_are_counted_until_they_end() {
        let limits = Limits::default();
        let limit = Limit {
            connections: Some(1),
            exempt: vec!["10.1.0.0/16".parse().unwrap()],
            ..Options::default().limit
        };
        let key = Key::new("a", "b");
        let (address, now) = ("10.0.0.1".parse().unwrap(), Instant::now());
        let first = limits.admit(&key, &limit, address, now).unwrap();
        assert!(limits.admit(&key, &limit, address, now).is_err());
        assert!(
            limits
                .admit(&key, &limit, "10.1.2.3".parse().unwrap(), now)
                .unwrap()
                .is_none()
        );
        drop(first);
        assert!(limits.admit(&key, &limit, address, now).is_ok());
    }
}
