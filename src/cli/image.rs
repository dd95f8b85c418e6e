//! `kubik image`: what the daemon does for us over its control socket.

use super::{
    args::{ImageCommand, ListFormat},
    engine,
    failure::{Failure, for_profile},
    place, question,
    screen::{self, Steps},
};
use crate::{
    daemon::control::{Answer, Request},
    runtime::{image::reference::Reference, model::ImageInfo},
};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// A large archive unpacks in seconds; a silent daemon is given up after this.
const PATIENCE: Duration = Duration::from_secs(600);

pub fn run(profile: &str, command: &ImageCommand) -> Result<(), Failure> {
    if !matches!(command, ImageCommand::Ls { .. }) {
        place::require_root()?;
    }
    match command {
        ImageCommand::Load { files } => files.iter().try_for_each(|file| load(profile, file)),
        ImageCommand::Ls { output } => list(profile, *output),
        ImageCommand::Rm { images } => images.iter().try_for_each(|image| {
            let reference = image.clone();
            ask(profile, &Request::Remove { reference }, |_| {}).map(drop)
        }),
        ImageCommand::Pull { images } => images.iter().try_for_each(|image| pull(profile, image)),
        ImageCommand::Save { words } => save(profile, words),
        ImageCommand::Tag { image, name } => {
            let (reference, name) = (image.clone(), name.clone());
            ask(profile, &Request::Tag { reference, name }, |_| {}).map(drop)
        }
        ImageCommand::Build { .. } => Err(no_builder(profile)),
        ImageCommand::Push { .. } => Err(no_pusher()),
    }
}

fn no_builder(profile: &str) -> Failure {
    let config = place::existing(profile).ok().map(|(_, config)| config);
    let port = config.map_or(5000, |config| config.registry_port);
    let why = "kubik builds no images: use the builder you have and hand the result over";
    Failure::new("MK_UNSUPPORTED", 16, why).advise(format!(
        "Push it into the cluster:  docker build -t localhost:{port}/app:1 . && docker push localhost:{port}/app:1\n  \
         Without a registry:        docker build -t app:1 . && docker save app:1 | kubik image load{} -\n  \
         With buildah or podman:    podman build -t localhost:{port}/app:1 . && podman push --tls-verify=false localhost:{port}/app:1",
        for_profile(profile)
    ))
}

fn no_pusher() -> Failure {
    let why = "kubik pushes no images: it keeps layers unpacked";
    Failure::new("MK_UNSUPPORTED", 16, why)
        .advise("Write an archive and push that: kubik image save IMAGE x.tar && skopeo copy docker-archive:x.tar docker://REGISTRY/IMAGE")
}

/// The last word is the archive; `-` is standard output.
fn save(profile: &str, words: &[String]) -> Result<(), Failure> {
    let Some((file, images)) = words.split_last() else {
        return Ok(());
    };
    let steps = Steps::begin(&format!("Saving {}", images.join(", ")));
    let spooled = (file == "-").then(|| Spooled::name(profile)).transpose()?;
    let path = match &spooled {
        Some(spooled) => spooled.0.clone(),
        None => std::path::absolute(file).map_err(|e| Failure::host(file, &e))?,
    };
    let request = Request::Save {
        references: images.to_vec(),
        path: path.clone(),
    };
    ask(profile, &request, |_| {})?;
    if spooled.is_some() {
        let failure = |e: io::Error| Failure::host("write the archive", &e);
        let mut archive = File::open(&path).map_err(failure)?;
        io::copy(&mut archive, &mut io::stdout().lock()).map_err(failure)?;
    }
    steps.done(file, steps.elapsed());
    Ok(())
}

pub fn load(profile: &str, file: &Path) -> Result<(), Failure> {
    let steps = Steps::begin(&format!("Loading {}", file.display()));
    steps.spin("unpacking");
    if file == Path::new("-") {
        let spooled = Spooled::standard_input(profile)?;
        return unpack(profile, &spooled.0, &steps).map(drop);
    }
    if !file.exists()
        && let Some(name) = image_name(file)
    {
        return load_from_engine(profile, &name, &steps);
    }
    let path =
        std::path::absolute(file).map_err(|e| Failure::host(&file.display().to_string(), &e))?;
    unpack(profile, &path, &steps).map(drop)
}

fn unpack(profile: &str, archive: &Path, steps: &Steps) -> Result<Vec<ImageInfo>, Failure> {
    let path = archive.to_owned();
    let loaded = images(ask(profile, &Request::Load { path }, |_| {})?);
    for image in &loaded {
        steps.done(image.tags.first().unwrap_or(&image.id), steps.elapsed());
    }
    Ok(loaded)
}

/// A word that can be no file's, or is no archive's: the name of an image.
fn image_name(word: &Path) -> Option<String> {
    let text = word.to_str()?;
    let is_file = [".tar", ".tgz", ".gz"]
        .iter()
        .any(|end| text.ends_with(end));
    let is_path = text.starts_with(['/', '.']);
    (!is_file && !is_path && Reference::parse(text).is_ok()).then(|| text.to_owned())
}

fn load_from_engine(profile: &str, name: &str, steps: &Steps) -> Result<(), Failure> {
    steps.spin("asking Docker and Podman");
    let spooled = Spooled::name(profile)?;
    let again = for_profile(profile);
    if engine::export(name, &spooled.0)?.is_none() {
        let why = format!(
            "there is no file \"{name}\", and no Docker or Podman of this machine has such an image"
        );
        return Err(Failure::new("RT_IMAGE_NOT_FOUND", 95, why).advise(format!(
            "An engine whose socket is not open:  podman save {name} | kubik image load{again} -\n  \
             From its registry:                   kubik image pull{again} {name}"
        )));
    }
    let loaded = unpack(profile, &spooled.0, steps)?;
    // Podman calls its own images localhost/NAME: pods may say what was said here.
    let tags = || loaded.iter().flat_map(|image| &image.tags);
    let wanted = Reference::parse(name).ok().and_then(|name| name.tagged());
    if let (Some(wanted), Some(known)) = (wanted, tags().next())
        && tags().all(|tag| *tag != wanted)
    {
        let (reference, name) = (known.clone(), wanted.clone());
        ask(profile, &Request::Tag { reference, name }, |_| {})?;
        steps.done(&wanted, steps.elapsed());
    }
    Ok(())
}

fn pull(profile: &str, image: &str) -> Result<(), Failure> {
    let steps = Steps::begin(&format!("Pulling {image}"));
    let reference = image.to_owned();
    let answer = ask(profile, &Request::Pull { reference }, |answer| {
        if let Answer::Progress { layer, done, total } = answer {
            let short = layer
                .trim_start_matches("sha256:")
                .get(..12)
                .unwrap_or(layer);
            steps.spin(&format!("{short} {} of {}", size(*done), size(*total)));
        }
    })?;
    for found in images(answer) {
        // One image may have many names; people asked for this one.
        let asked = found.tags.iter().find(|tag| tag.ends_with(image));
        let name = asked.or(found.tags.first()).unwrap_or(&found.id);
        let what = format!("{name} ({})", size(found.size_bytes));
        steps.done(&what, steps.elapsed());
    }
    Ok(())
}

fn list(profile: &str, output: ListFormat) -> Result<(), Failure> {
    let images = images(ask(profile, &Request::Images, |_| {})?);
    screen::result(&match output {
        ListFormat::Json => serde_json::to_string_pretty(&images).unwrap_or_default(),
        ListFormat::Yaml => serde_yaml_ng::to_string(&images).unwrap_or_default(),
        ListFormat::Table => text(&images),
        ListFormat::Short => names(&images),
    });
    Ok(())
}

fn names(images: &[ImageInfo]) -> String {
    let mut names: Vec<&str> = images
        .iter()
        .flat_map(|image| &image.tags)
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names.join("\n")
}

fn text(images: &[ImageInfo]) -> String {
    let head = ["IMAGE", "ID", "SIZE"].map(str::to_owned).to_vec();
    let mut rows: Vec<Vec<String>> = Vec::new();
    for image in images {
        let id = image.id.trim_start_matches("sha256:");
        let id = id.get(..12).unwrap_or(id).to_owned();
        let names = if image.tags.is_empty() {
            &image.digests
        } else {
            &image.tags
        };
        rows.extend(
            names
                .iter()
                .map(|name| vec![name.clone(), id.clone(), size(image.size_bytes)]),
        );
    }
    rows.sort();
    rows.insert(0, head);
    screen::table(&rows)
}

/// Decimal units, as `docker images` prints them.
fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let value = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes}B"),
        1_000..1_000_000 => format!("{:.1}kB", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}MB", value / 1e6),
        _ => format!("{:.2}GB", value / 1e9),
    }
}

fn images(answer: Answer) -> Vec<ImageInfo> {
    match answer {
        Answer::Images { images } => images,
        _ => Vec::new(),
    }
}

fn ask(profile: &str, request: &Request, watch: impl FnMut(&Answer)) -> Result<Answer, Failure> {
    let (layout, _) = place::existing(profile)?;
    question::ask(profile, &layout, request, PATIENCE, ("RT_IMAGE", 90), watch)
}

/// A file that the daemon reads or writes for a stream of ours; removed on drop.
struct Spooled(PathBuf);

impl Spooled {
    /// A name below the cluster's directory.
    fn name(profile: &str) -> Result<Spooled, Failure> {
        let (layout, _) = place::existing(profile)?;
        let name = format!("spooled-{}.tar", std::process::id());
        Ok(Spooled(layout.state.join(name)))
    }

    fn standard_input(profile: &str) -> Result<Spooled, Failure> {
        let spooled = Spooled::name(profile)?;
        let path = spooled.0.clone();
        let failure = |error: io::Error| Failure::host(&path.display().to_string(), &error);
        let mut file = File::create(&path).map_err(failure)?;
        io::copy(&mut io::stdin().lock(), &mut file).map_err(failure)?;
        Ok(spooled)
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_are_told_from_files() {
        let name = |text: &str| image_name(Path::new(text));
        for image in ["nginx", "app:1", "localhost:5000/app:1", "ghcr.io/a/b"] {
            assert_eq!(name(image).as_deref(), Some(image));
        }
        for file in ["app.tar", "./app", "/tmp/app", "a b", "App", "app.tar.gz"] {
            assert_eq!(name(file), None, "{file}");
        }
    }

    #[test]
    fn sizes_are_decimal() {
        let sizes = [
            (999, "999B"),
            (73_400_000, "73.4MB"),
            (1_250_000_000, "1.25GB"),
        ];
        for (bytes, text) in sizes {
            assert_eq!(size(bytes), text);
        }
    }
}
