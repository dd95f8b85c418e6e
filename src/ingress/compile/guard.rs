//! Who guards the routes of an Ingress: passwords, client certificates and those who are asked, from the objects that its
//! annotations name. Pure.

use super::Builder;
use crate::{
    api::{name::Key, object::Object},
    ingress::{credential::Authority, option::Options, password::Users},
};
use k8s_openapi::api::{core::v1::Secret, networking::v1::ServiceBackendPort};
use std::sync::Arc;

impl<'a> Builder<'a> {
    /// What guards and cannot be had closes the routes.
    pub(super) fn kept<T>(
        &mut self,
        ingress: &Key,
        options: &mut Options,
        guard: Result<Option<T>, String>,
    ) -> Option<Arc<T>> {
        match guard {
            Ok(guard) => guard.map(Arc::new),
            Err(why) => {
                let why = format!("{why}: requests are refused with 503");
                self.tell(ingress, why.clone());
                options.refused = Some(why);
                None
            }
        }
    }

    /// Those whose certificates are believed: `ca.crt` of the Secret that `auth-tls-secret` names.
    pub(super) fn authority(&self, ingress: &Key, options: &Options) -> Result<Authority, String> {
        let secret = self.secret(ingress, "auth-tls-secret", &options.client_auth.secret)?;
        let pem = secret.data.as_ref().and_then(|data| data.get("ca.crt"));
        let pem = pem.and_then(|pem| std::str::from_utf8(&pem.0).ok());
        let name = secret.key();
        let pem = pem.ok_or_else(|| format!("secret {name} does not contain a key \"ca.crt\""))?;
        Authority::read(pem).map_err(|why| format!("secret {name}: {why}"))
    }

    /// A Secret of others must not be tried out through an Ingress of one's own.
    fn secret(&self, ingress: &Key, annotation: &str, name: &str) -> Result<&'a Secret, String> {
        let (namespace, name) = name
            .split_once('/')
            .unwrap_or((ingress.namespace.as_str(), name));
        if namespace != ingress.namespace {
            return Err(format!(
                "{annotation} {namespace}/{name} is in another namespace"
            ));
        }
        let secret = self.objects.secrets.get(&Key::new(namespace, name));
        secret
            .map(AsRef::as_ref)
            .ok_or_else(|| format!("secret {namespace}/{name} for authentication was not found"))
    }

    /// The Service that an address inside the cluster means: `http://name.namespace.svc…:port/…`.
    pub(super) fn service_of(&self, ingress: &Key, url: &str) -> Option<(Key, ServiceBackendPort)> {
        let uri: http::Uri = url.parse().ok()?;
        let labels: Vec<&str> = uri.host()?.split('.').collect();
        let key = match labels.as_slice() {
            [name] => Key::new(&*ingress.namespace, *name),
            [name, namespace] | [name, namespace, "svc", ..] => Key::new(*namespace, *name),
            _ => return None,
        };
        let is_there = self.objects.services.get(&key).is_some();
        let is_meant = labels.get(2) == Some(&"svc");
        let default = match uri.scheme_str() {
            Some("https") => 443,
            _ => 80,
        };
        let port = ServiceBackendPort {
            number: Some(uri.port_u16().unwrap_or(default).into()),
            name: None,
        };
        (is_there || is_meant).then_some((key, port))
    }

    /// The people of the Secret that `auth-secret` names.
    pub(super) fn users(&mut self, ingress: &Key, options: &Options) -> Result<Users, String> {
        let secret = self.secret(ingress, "auth-secret", &options.auth.secret)?;
        let shown = secret.key();
        let data = secret.data.iter().flatten();
        let texts: Vec<(&str, &str)> = data
            .filter_map(|(name, bytes)| Some((name.as_str(), std::str::from_utf8(&bytes.0).ok()?)))
            .collect();
        let (users, unknown) = if options.auth.is_map {
            Users::collect(texts.into_iter())
        } else {
            let file = texts.iter().find(|(name, _)| *name == "auth");
            let (_, file) =
                file.ok_or_else(|| format!("secret {shown} does not contain a key \"auth\""))?;
            Users::read(file)
        };
        for user in unknown {
            let message = format!(
                "secret {shown}: the password of {user:?} is of a kind that is not supported (use htpasswd -B): the user is not let in"
            );
            self.tell(ingress, message);
        }
        Ok(users)
    }
}
