//! The annotations, one line each.

use super::{
    Annotation, Asks,
    Effect::{self, Closes, Guards, Sets, Tunes},
    Protocol, Redirect, read,
};
use regex::Regex;

const fn row(name: &'static str, effect: Effect) -> Annotation {
    Annotation { name, effect }
}

#[expect(clippy::unit_arg, reason = "most rows are one assignment")]
#[rustfmt::skip]
pub const ANNOTATIONS: &[Annotation] = &[
    // Where requests go.
    row("use-regex", Sets(|o, v| Ok(o.use_regex = read::boolean(v)?))),
    row("rewrite-target", Sets(|o, v| Ok(o.rewrite_target = Some(read::location(v)?)))),
    row("app-root", Sets(|o, v| Ok(o.app_root = Some(read::location(v)?)))),
    row("server-alias", Sets(|o, v| Ok(o.aliases = read::words(v).map(str::to_lowercase).collect()))),
    row("default-backend", Sets(|o, v| Ok(o.default_backend = Some(v.to_owned())))),
    row("service-upstream", Sets(|o, v| Ok(o.service_upstream = read::boolean(v)?))),
    row("backend-protocol", Sets(|o, v| Ok(o.protocol = protocol(v)?))),
    row("upstream-vhost", Sets(|o, v| Ok(o.upstream_vhost = Some(read::header(v)?)))),
    row("x-forwarded-prefix", Sets(|o, v| Ok(o.forwarded_prefix = Some(read::header(v)?)))),
    // Redirects.
    row("ssl-redirect", Sets(|o, v| Ok(o.ssl_redirect = read::boolean(v)?))),
    row("force-ssl-redirect", Sets(|o, v| Ok(o.force_ssl_redirect = read::boolean(v)?))),
    row("from-to-www-redirect", Sets(|o, v| Ok(o.www_redirect = read::boolean(v)?))),
    row("permanent-redirect", Sets(|o, v| Ok(o.redirect = Some(Redirect::Permanent(read::location(v)?))))),
    row("permanent-redirect-code", Sets(|o, v| Ok(o.permanent_code = read::status(v, 300..=308)?))),
    row("temporal-redirect", Sets(|o, v| Ok(o.redirect = Some(Redirect::Temporal(read::location(v)?))))),
    row("temporal-redirect-code", Sets(|o, v| Ok(o.temporal_code = read::status(v, 300..=308)?))),
    // Sizes and times.
    row("proxy-body-size", Sets(|o, v| Ok(o.body_bytes_max = read::size(v)?))),
    row("proxy-connect-timeout", Sets(|o, v| Ok(o.connect_timeout = read::seconds(v)?))),
    row("proxy-read-timeout", Sets(|o, v| Ok(o.read_timeout = read::seconds(v)?))),
    row("proxy-send-timeout", Sets(|o, v| Ok(o.send_timeout = read::seconds(v)?))),
    row("proxy-next-upstream-tries", Sets(|o, v| Ok(o.tries = tries(v)?))),
    // Who may come in, and how often.
    row("whitelist-source-range", Guards(|o, v| Ok(o.allowed = read::networks(v)?))),
    row("allowlist-source-range", Guards(|o, v| Ok(o.allowed = read::networks(v)?))),
    row("denylist-source-range", Guards(|o, v| Ok(o.denied = read::networks(v)?))),
    row("auth-type", Guards(|o, v| match v {
        "basic" => Ok(o.auth.is_basic = true),
        other => Err(format!("{other:?} authentication is not supported")),
    })),
    row("auth-secret", Guards(|o, v| Ok(o.auth.secret = v.to_owned()))),
    row("auth-secret-type", Guards(|o, v| match v {
        "auth-file" => Ok(o.auth.is_map = false),
        "auth-map" => Ok(o.auth.is_map = true),
        other => Err(format!("{other:?} is neither auth-file nor auth-map")),
    })),
    row("auth-realm", Sets(|o, v| {
        read::header(v)?;
        Ok(o.auth.realm = v.replace(['"', '\\'], ""))
    })),
    row("auth-url", Guards(|o, v| Ok(o.external.url = read::url(v)?))),
    row("auth-method", Guards(|o, v| {
        Ok(o.external.method = v.parse().map_err(|_| format!("{v:?} is not a method"))?)
    })),
    row("auth-response-headers", Sets(|o, v| Ok(o.external.response_headers = read::header_names(v)?))),
    row("auth-signin", Sets(|o, v| Ok(o.external.signin = Some(read::location(v)?)))),
    row("auth-signin-redirect-param", Sets(|o, v| Ok(o.external.signin_param = read::token(v)?))),
    row("auth-request-redirect", Sets(|o, v| Ok(o.external.redirect = Some(read::location(v)?)))),
    row("auth-cache-key", Tunes),
    row("auth-cache-duration", Tunes),
    row("auth-keepalive", Tunes),
    row("auth-keepalive-requests", Tunes),
    row("auth-keepalive-timeout", Tunes),
    row("auth-keepalive-share-vars", Tunes),
    row("enable-global-auth", Tunes),
    row("auth-snippet", Closes),
    row("auth-proxy-set-headers", Closes),
    row("auth-tls-secret", Guards(|o, v| match v {
        "" => Err("no secret is named".to_owned()),
        name => Ok(o.client_auth.secret = name.to_owned()),
    })),
    row("auth-tls-verify-client", Guards(|o, v| Ok(o.client_auth.asks = match v {
        "on" => Asks::Must,
        "optional" => Asks::May,
        "optional_no_ca" => Asks::Unproven,
        other => return Err(format!("{other:?} is not supported; on, optional and optional_no_ca are")),
    }))),
    row("auth-tls-verify-depth", Tunes),
    row("auth-tls-match-cn", Guards(|o, v| Ok(o.client_auth.pattern = Some(pattern(v)?)))),
    row("auth-tls-error-page", Sets(|o, v| Ok(o.client_auth.error_page = Some(read::location(v)?)))),
    row("auth-tls-pass-certificate-to-upstream", Sets(|o, v| Ok(o.client_auth.passes = read::boolean(v)?))),
    row("limit-rps", Guards(|o, v| Ok(o.limit.per_second = limit(v)?))),
    row("limit-rpm", Guards(|o, v| Ok(o.limit.per_minute = limit(v)?))),
    row("limit-connections", Guards(|o, v| Ok(o.limit.connections = limit(v)?))),
    row("limit-burst-multiplier", Sets(|o, v| Ok(o.limit.burst = read::number(v)?.max(1)))),
    row("limit-whitelist", Sets(|o, v| Ok(o.limit.exempt = read::networks(v)?))),
    row("limit-allowlist", Sets(|o, v| Ok(o.limit.exempt = read::networks(v)?))),
    // Cross-origin requests.
    row("enable-cors", Sets(|o, v| Ok(o.cors.is_enabled = read::boolean(v)?))),
    row("cors-allow-origin", Sets(|o, v| Ok(o.cors.origins = read::words(v).map(str::to_owned).collect()))),
    row("cors-allow-methods", Sets(|o, v| Ok(o.cors.methods = read::header(v)?))),
    row("cors-allow-headers", Sets(|o, v| Ok(o.cors.headers = read::header(v)?))),
    row("cors-expose-headers", Sets(|o, v| Ok(o.cors.expose = Some(read::header(v)?)))),
    row("cors-allow-credentials", Sets(|o, v| Ok(o.cors.credentials = read::boolean(v)?))),
    row("cors-max-age", Sets(|o, v| Ok(o.cors.max_age_seconds = read::number(v)?.into()))),
    // Staying with an endpoint.
    row("affinity", Sets(|o, v| match v {
        "cookie" => Ok(o.affinity.is_cookie = true),
        other => Err(format!("{other:?} is not an affinity; \"cookie\" is")),
    })),
    row("affinity-mode", Tunes),
    row("session-cookie-name", Sets(|o, v| Ok(o.affinity.cookie = read::token(v)?))),
    row("session-cookie-path", Sets(|o, v| Ok(o.affinity.path = read::token(v)?))),
    row("session-cookie-domain", Sets(|o, v| Ok(o.affinity.domain = Some(read::token(v)?)))),
    row("session-cookie-max-age", Sets(|o, v| Ok(o.affinity.max_age_seconds = Some(read::number(v)?.into())))),
    row("session-cookie-expires", Sets(|o, v| Ok(o.affinity.max_age_seconds = Some(read::number(v)?.into())))),
    row("session-cookie-samesite", Sets(|o, v| Ok(o.affinity.same_site = Some(read::token(v)?)))),
    row("session-cookie-secure", Sets(|o, v| Ok(o.affinity.secure = read::boolean(v)?))),
    row("session-cookie-change-on-failure", Tunes),
    // Canaries.
    row("canary", Sets(|o, v| Ok(o.canary.is_enabled = read::boolean(v)?))),
    row("canary-weight", Sets(|o, v| Ok(o.canary.weight = read::number(v)?))),
    row("canary-weight-total", Sets(|o, v| Ok(o.canary.weight_total = read::number(v)?.max(1)))),
    row("canary-by-header", Sets(|o, v| {
        Ok(o.canary.header = Some(v.parse().map_err(|_| format!("{v:?} is not a header"))?))
    })),
    row("canary-by-header-value", Sets(|o, v| Ok(o.canary.header_value = Some(v.to_owned())))),
    row("canary-by-header-pattern", Sets(|o, v| Ok(o.canary.header_pattern = Some(pattern(v)?)))),
    row("canary-by-cookie", Sets(|o, v| Ok(o.canary.cookie = Some(read::token(v)?)))),
    row("affinity-canary-behavior", Tunes),
    // Only of interest to nginx.
    row("load-balance", Tunes),
    row("proxy-buffering", Tunes),
    row("proxy-buffer-size", Tunes),
    row("proxy-buffers-number", Tunes),
    row("proxy-busy-buffers-size", Tunes),
    row("proxy-max-temp-file-size", Tunes),
    row("proxy-request-buffering", Tunes),
    row("proxy-http-version", Tunes),
    row("proxy-next-upstream", Tunes),
    row("proxy-next-upstream-timeout", Tunes),
    row("proxy-ssl-verify", Guards(|_, v| match v {
        "off" => Ok(()),
        _ => Err("certificates of backends are not verified".to_owned()),
    })),
    row("client-body-buffer-size", Tunes),
    row("enable-access-log", Tunes),
    row("enable-rewrite-log", Tunes),
    row("http2-push-preload", Tunes),
    row("preserve-trailing-slash", Tunes),
    row("ssl-ciphers", Tunes),
    row("ssl-prefer-server-ciphers", Tunes),
];

fn protocol(text: &str) -> Result<Protocol, String> {
    Ok(match text.to_uppercase().as_str() {
        "HTTP" | "AUTO_HTTP" => Protocol::Http,
        "HTTPS" => Protocol::Https,
        "GRPC" => Protocol::Grpc,
        "GRPCS" => Protocol::Grpcs,
        _ => {
            return Err(format!(
                "{text:?} is not supported; HTTP, HTTPS, GRPC and GRPCS are"
            ));
        }
    })
}

fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|_| format!("{text:?} is not a regular expression that is supported"))
}

/// Zero is no limit.
fn limit(text: &str) -> Result<Option<u32>, String> {
    Ok(Some(read::number(text)?).filter(|&count| count > 0))
}

/// Zero is as many as there are endpoints.
fn tries(text: &str) -> Result<usize, String> {
    let count = usize::try_from(read::number(text)?).unwrap_or(usize::MAX);
    Ok(if count == 0 { usize::MAX } else { count })
}
