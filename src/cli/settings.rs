//! `kubik config`: options of `start` kept for clusters to come, in `config.json` beside the clusters.
//!
//! The command line wins over what is kept. Options of other programs can be kept as well: they say at a start that
//! they mean nothing.

use super::{
    args::{ConfigCommand, FOREIGN, Output, StartOptions},
    failure::Failure,
    place, screen,
};
use std::{collections::BTreeMap, fs, io, path::PathBuf};

type Settings = BTreeMap<String, String>;

/// An option and how its value gets into the options of a start; false when the value is none for it.
struct Key {
    name: &'static str,
    apply: fn(&mut StartOptions, &str) -> bool,
}

const KEYS: &[Key] = &[
    Key {
        name: "addons",
        apply: |options, text| list(&mut options.addons, text),
    },
    Key {
        name: "api-port",
        apply: |options, text| number(&mut options.api_port, text),
    },
    Key {
        name: "extra-config",
        apply: |options, text| {
            if options.extra_config.is_empty() {
                options.extra_config.push(text.to_owned());
            }
            true
        },
    },
    Key {
        name: "insecure-registry",
        apply: |options, text| list(&mut options.insecure_registry, text),
    },
    Key {
        name: "keep-context",
        apply: |options, text| switch(&mut options.keep_context, text),
    },
    Key {
        name: "kubernetes-version",
        apply: |options, text| {
            options
                .kubernetes_version
                .get_or_insert_with(|| text.to_owned());
            true
        },
    },
    Key {
        name: "nodes",
        apply: |options, text| {
            let good = text
                .parse()
                .is_ok_and(|count: u8| (1..=32).contains(&count));
            good && number(&mut options.nodes, text)
        },
    },
    // Read when the command line is: see `profile`.
    Key {
        name: PROFILE,
        apply: |_, text| place::profile_name(text).is_ok(),
    },
    Key {
        name: "registry-ca",
        apply: |options, text| {
            if options.registry_ca.is_empty() {
                options.registry_ca.push(PathBuf::from(text));
            }
            true
        },
    },
    Key {
        name: "registry-mirror",
        apply: |options, text| list(&mut options.registry_mirror, text),
    },
    Key {
        name: "registry-port",
        apply: |options, text| number(&mut options.registry_port, text),
    },
];

const PROFILE: &str = "profile";

fn list(target: &mut Vec<String>, text: &str) -> bool {
    if target.is_empty() {
        target.extend(text.split(',').map(str::to_owned));
    }
    true
}

fn number<T: std::str::FromStr>(target: &mut Option<T>, text: &str) -> bool {
    match text.parse() {
        Ok(value) => {
            target.get_or_insert(value);
            true
        }
        Err(_) => false,
    }
}

fn switch(target: &mut bool, text: &str) -> bool {
    match text.parse::<bool>() {
        Ok(value) => {
            *target |= value;
            true
        }
        Err(_) => false,
    }
}

fn path() -> PathBuf {
    place::state_root().join(place::SETTINGS)
}

fn read() -> Result<Settings, Failure> {
    let path = path();
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Settings::new()),
        bytes => bytes.map_err(|e| Failure::host(&path.display().to_string(), &e))?,
    };
    serde_json::from_slice(&bytes).map_err(|e| {
        let why = format!("{} cannot be read: {e}", path.display());
        Failure::new("HOST_CONFIG", 38, why).advise("Mend or remove the file.")
    })
}

fn write(settings: &Settings) -> Result<(), Failure> {
    let path = path();
    let new = path.with_extension("new");
    let text = serde_json::to_vec_pretty(settings).unwrap_or_default();
    fs::create_dir_all(place::state_root())
        .and_then(|()| fs::write(&new, text))
        .and_then(|()| fs::rename(&new, &path))
        .map_err(|e| Failure::host(&path.display().to_string(), &e))
}

/// The profile for commands that name none. A file that cannot be read is not this command's business.
pub fn profile() -> String {
    let kept = read()
        .ok()
        .and_then(|mut settings| settings.remove(PROFILE));
    kept.filter(|name| place::profile_name(name).is_ok())
        .unwrap_or_else(|| place::DEFAULT_PROFILE.to_owned())
}

pub fn choose_profile(name: &str) -> Result<(), Failure> {
    set(PROFILE, name)
}

/// The options with what is kept where they say nothing.
pub fn complete(options: &StartOptions) -> Result<StartOptions, Failure> {
    let mut options = options.clone();
    for (name, value) in read()? {
        match KEYS.iter().find(|key| key.name == name) {
            Some(key) if (key.apply)(&mut options, &value) => {}
            Some(_) => return Err(bad_value(&name, &value)),
            None => {
                let foreign = FOREIGN.iter().find(|flag| flag.name == name);
                let given = &mut options.foreign.0;
                if let Some(flag) = foreign
                    && given.iter().all(|(other, _)| *other != flag.name)
                {
                    given.push((flag.name, value));
                }
            }
        }
    }
    Ok(options)
}

pub fn run(command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Set { key, value } => set(key, value),
        ConfigCommand::Get { key } => {
            known(key)?;
            let settings = read()?;
            let value = settings.get(key).ok_or_else(|| {
                Failure::new("MK_CONFIG_NOT_SET", 15, format!("\"{key}\" is not set"))
                    .advise(format!("Set it with: kubik config set {key} VALUE"))
            })?;
            screen::result(value);
            Ok(())
        }
        ConfigCommand::Unset { key } => {
            known(key)?;
            place::require_root()?;
            let _guard = place::lock()?;
            let mut settings = read()?;
            settings.remove(key);
            write(&settings)
        }
        ConfigCommand::View { output } => {
            let settings = read()?;
            if *output == Output::Json {
                screen::result(&serde_json::to_string(&settings).unwrap_or_default());
            } else {
                for (key, value) in settings {
                    screen::result(&format!("- {key}: {value}"));
                }
            }
            Ok(())
        }
    }
}

fn set(key: &str, value: &str) -> Result<(), Failure> {
    known(key)?;
    place::require_root()?;
    if let Some(found) = KEYS.iter().find(|known| known.name == key)
        && !(found.apply)(&mut StartOptions::default(), value)
    {
        return Err(bad_value(key, value));
    }
    let _guard = place::lock()?;
    let mut settings = read()?;
    settings.insert(key.to_owned(), value.to_owned());
    write(&settings)?;
    if key != PROFILE {
        screen::line(&format!(
            "Clusters that are started from now on have {key} {value}."
        ));
    }
    Ok(())
}

fn known(key: &str) -> Result<(), Failure> {
    let is_ours = KEYS.iter().any(|known| known.name == key);
    if is_ours || FOREIGN.iter().any(|flag| flag.name == key) {
        return Ok(());
    }
    let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
    Err(Failure::new(
        "MK_CONFIG_UNKNOWN",
        15,
        format!("there is no option \"{key}\""),
    )
    .advise(format!("Options that can be kept: {}", names.join(", "))))
}

fn bad_value(key: &str, value: &str) -> Failure {
    Failure::new(
        "MK_CONFIG_VALUE",
        14,
        format!("\"{value}\" is no value for {key}"),
    )
    .advise(format!("Change it with: kubik config set {key} VALUE"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_knows_good_from_bad() {
        for (name, good, bad) in [
            ("nodes", "3", Some("0")),
            ("api-port", "8443", Some("x")),
            ("keep-context", "true", Some("maybe")),
            ("profile", "ci", Some("C I")),
            ("registry-mirror", "http://a", None),
        ] {
            let key = KEYS.iter().find(|key| key.name == name).unwrap();
            assert!((key.apply)(&mut StartOptions::default(), good), "{name}");
            if let Some(bad) = bad {
                assert!(!(key.apply)(&mut StartOptions::default(), bad), "{name}");
            }
        }
    }

    #[test]
    fn the_command_line_wins() {
        let mut options = StartOptions {
            nodes: Some(2),
            ..StartOptions::default()
        };
        let key = KEYS.iter().find(|key| key.name == "nodes").unwrap();
        assert!((key.apply)(&mut options, "5"));
        assert_eq!(options.nodes, Some(2));
    }
}
