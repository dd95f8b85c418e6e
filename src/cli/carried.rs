//! What people carry over to `kubik start` from other programs: their versions and options. Says what each means here,
//! before anything is done.

use super::{
    args::{Effect, FOREIGN, StartOptions},
    failure::Failure,
    screen,
};
use crate::config::{KUBERNETES, KubeletConfig};

pub fn look(options: &StartOptions) -> Result<(), Failure> {
    if let Some(wanted) = &options.kubernetes_version {
        version(wanted)?;
    }
    if let Some(domain) = &options.dns_domain {
        is_domain(domain)?;
    }
    for note in notes(&options.foreign.0)? {
        screen::line(&note);
    }
    for text in &options.extra_config {
        let known = KubeletConfig::default().set(text);
        let known = known.map_err(|why| {
            let text = format!("--extra-config {text}: {why}");
            Failure::new("MK_USAGE", 14, text)
                .advise("Example: --extra-config kubelet.eviction-hard=memory.available<500Mi")
        })?;
        if !known {
            screen::line(&format!(
                "--extra-config {text}: this setting of upstream's has no meaning here."
            ));
        }
    }
    Ok(())
}

/// A line for each option that means something else here; the first that cannot be had fails. Pure.
fn notes(given: &[(&'static str, String)]) -> Result<Vec<String>, Failure> {
    let mut notes = Vec::new();
    for (name, value) in given {
        let is_off = value == "false";
        match FOREIGN
            .iter()
            .find(|flag| flag.name == *name)
            .map(|flag| flag.effect)
        {
            Some(Effect::Note(text)) if !is_off => notes.push(format!("--{name} {value}: {text}.")),
            Some(Effect::Refused(why)) if !is_off => {
                let text = format!("--{name} cannot be had: {why}");
                return Err(
                    Failure::new("MK_UNSUPPORTED", 16, text).advise("Leave the option out.")
                );
            }
            _ => {}
        }
    }
    Ok(notes)
}

/// `v1.36`, `1.36.1`, `stable` and `latest` are what is served.
fn version(wanted: &str) -> Result<(), Failure> {
    let minor = |text: &str| {
        let mut parts = text
            .trim_start_matches('v')
            .split('.')
            .map(str::parse::<u32>);
        match (parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
            _ => None,
        }
    };
    let (served, wanted_minor) = (minor(KUBERNETES), minor(wanted));
    if ["stable", "latest", ""].contains(&wanted) || wanted_minor == served {
        return Ok(());
    }
    let id = match wanted_minor {
        None => {
            let text = format!("\"{wanted}\" is no version of Kubernetes");
            return Err(
                Failure::new("MK_USAGE", 14, text).advise("Write it as v1.36.0, or leave it out.")
            );
        }
        Some(minor) if Some(minor) < served => "K8S_OLD_UNSUPPORTED",
        Some(_) => "K8S_NEW_UNSUPPORTED",
    };
    let text =
        format!("Kubernetes {wanted} is not served: this program is {KUBERNETES} and nothing else");
    Err(Failure::new(id, 106, text)
        .advise("Leave --kubernetes-version out, or use another release of kubik."))
}

fn is_domain(text: &str) -> Result<(), Failure> {
    let label = |label: &str| {
        let inner = label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    if text.len() <= 200 && text.split('.').all(label) {
        return Ok(());
    }
    let why = format!("\"{text}\" is no domain");
    Err(Failure::new("MK_USAGE", 14, why).advise("Example: --dns-domain cluster.local"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_versions_are_refused() {
        for good in ["v1.36.0", "1.36", "stable", "latest", KUBERNETES] {
            assert!(version(good).is_ok(), "{good}");
        }
        for (bad, code) in [
            ("v1.35.0", 106),
            ("v1.37.0", 106),
            ("v2.0", 106),
            ("newest", 14),
        ] {
            assert_eq!(version(bad).unwrap_err().code, code, "{bad}");
        }
    }

    #[test]
    fn options_of_others_are_explained_or_refused() {
        let given = |name, value: &str| notes(&[(name, value.to_owned())]);
        assert!(
            given("driver", "docker").unwrap()[0]
                .starts_with("--driver docker: there is no driver")
        );
        assert!(given("embed-certs", "true").unwrap().is_empty());
        assert!(given("rootless", "false").unwrap().is_empty());
        assert_eq!(given("gpus", "all").unwrap_err().code, 16);
    }

    #[test]
    fn domains_are_names() {
        assert!(is_domain("cluster.local").is_ok());
        for bad in ["", "a..b", "A.b", "-a.b", "a b"] {
            assert!(is_domain(bad).is_err(), "{bad}");
        }
    }
}
