//! `kubik image`: what the daemon does for us over its control socket.

use super::{
    args::{ImageCommand, ListFormat},
    failure::{Failure, for_profile},
    place,
    screen::{self, Steps},
};
use crate::{
    daemon::{
        control::{self, Answer, Request},
        launch,
    },
    runtime::model::ImageInfo,
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
    let mut steps = Steps::begin(&format!("Loading {}", file.display()));
    steps.spin("unpacking");
    let spooled;
    let path = if file == Path::new("-") {
        spooled = Spooled::standard_input(profile)?;
        spooled.0.clone()
    } else {
        std::path::absolute(file).map_err(|e| Failure::host(&file.display().to_string(), &e))?
    };
    for image in images(ask(profile, &Request::Load { path }, |_| {})?) {
        let name = image.tags.first().unwrap_or(&image.id);
        steps.done(name, steps.elapsed());
    }
    Ok(())
}

fn pull(profile: &str, image: &str) -> Result<(), Failure> {
    let mut steps = Steps::begin(&format!("Pulling {image}"));
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
    if !launch::is_running(&layout) {
        return Err(Failure::not_running(profile));
    }
    match control::ask_watching(&layout, request, PATIENCE, watch) {
        Ok(Answer::Failed { message }) => Err(Failure::new("RT_IMAGE", 90, message)),
        Ok(Answer::Starting) => Err(Failure::new(
            "GUEST_START",
            81,
            "the cluster is still starting",
        )),
        Ok(answer) => Ok(answer),
        Err(error) => Err(Failure::host("ask the daemon", &format!("{error:#}"))),
    }
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
