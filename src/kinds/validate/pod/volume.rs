//! Volumes: exactly one source each, and what each source needs.

use super::{
    Owner,
    container::{field_reference, resource_reference},
};
use crate::kinds::validate::{
    finding::{Field, Findings},
    format, labels, metadata, storage,
};
use std::collections::HashSet;

const MODE_TEXT: &str = "must be a number between 0 and 0777 (octal), both inclusive";

const HOST_PATH_TYPES: &[&str] = &[
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

const VOLUME_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

/// How a source is judged.
enum Check {
    /// These fields must be there.
    Fields(&'static [&'static str]),
    Own(fn(&Field<'_>, &mut Findings)),
}

/// Source, the name upstream's path gives it when it is one too many, and its check.
const SOURCES: &[(&str, &str, Check)] = &[
    ("emptyDir", "emptyDir", Check::Own(empty_dir)),
    ("hostPath", "hostPath", Check::Own(host_path)),
    ("gitRepo", "gitRepo", Check::Own(git_repo)),
    (
        "gcePersistentDisk",
        "gcePersistentDisk",
        Check::Fields(&["pdName"]),
    ),
    (
        "awsElasticBlockStore",
        "awsElasticBlockStore",
        Check::Fields(&["volumeID"]),
    ),
    ("secret", "secret", Check::Own(secret)),
    ("nfs", "nfs", Check::Own(nfs)),
    ("iscsi", "iscsi", Check::Fields(&["targetPortal", "iqn"])),
    (
        "glusterfs",
        "glusterfs",
        Check::Fields(&["endpoints", "path"]),
    ),
    ("flocker", "flocker", Check::Fields(&[])),
    (
        "persistentVolumeClaim",
        "persistentVolumeClaim",
        Check::Fields(&["claimName"]),
    ),
    ("rbd", "rbd", Check::Fields(&["image"])),
    ("cinder", "cinder", Check::Fields(&["volumeID"])),
    ("cephfs", "cephFS", Check::Fields(&[])),
    ("quobyte", "quobyte", Check::Fields(&["registry", "volume"])),
    ("downwardAPI", "downwarAPI", Check::Own(downward)),
    ("fc", "fc", Check::Fields(&[])),
    ("flexVolume", "flexVolume", Check::Fields(&["driver"])),
    ("configMap", "configMap", Check::Own(config_map)),
    (
        "azureFile",
        "azureFile",
        Check::Fields(&["secretName", "shareName"]),
    ),
    (
        "vsphereVolume",
        "vsphereVolume",
        Check::Fields(&["volumePath"]),
    ),
    (
        "photonPersistentDisk",
        "photonPersistentDisk",
        Check::Fields(&["pdID"]),
    ),
    (
        "portworxVolume",
        "portworxVolume",
        Check::Fields(&["volumeID"]),
    ),
    (
        "azureDisk",
        "azureDisk",
        Check::Fields(&["diskName", "diskURI"]),
    ),
    ("storageos", "storageos", Check::Fields(&["volumeName"])),
    ("projected", "projected", Check::Own(projected)),
    (
        "scaleIO",
        "scaleIO",
        Check::Fields(&["gateway", "system", "volumeName"]),
    ),
    ("csi", "csi", Check::Own(csi)),
    ("ephemeral", "ephemeral", Check::Own(ephemeral)),
    ("image", "image", Check::Own(image)),
];

/// The volumes that are all right: only these may be mounted.
pub struct Volumes<'a>(Vec<(&'a str, Field<'a>)>);

impl<'a> Volumes<'a> {
    pub fn find(&self, name: &str) -> Option<&Field<'a>> {
        let mut all = self.0.iter();
        all.find(|(known, _)| *known == name)
            .map(|(_, volume)| volume)
    }
}

pub fn volumes<'a>(field: &Field<'a>, owner: Owner<'_>, found: &mut Findings) -> Volumes<'a> {
    let mut fine: Vec<(&str, Field<'_>)> = Vec::new();
    for volume in field.items() {
        let before = found.len();
        source(&volume, found);
        let name = volume.child("name");
        if name.is_empty() {
            found.required(&name.path, "");
        } else {
            found.invalid_each(&name.path, name.text(), format::dns_label(name.text()));
        }
        if fine.iter().any(|(known, _)| *known == name.text()) {
            found.duplicate(&name.path, name.text());
        }
        if found.len() == before {
            fine.push((name.text(), volume));
        }
    }
    if let Owner::Pod(pod) = owner {
        generated_claims(field, pod, found);
    }
    Volumes(fine)
}

/// An ephemeral volume's claim is named after pod and volume; nobody else may use it.
fn generated_claims(field: &Field<'_>, pod: &str, found: &mut Findings) {
    let generated: Vec<String> = field
        .items()
        .filter(|volume| volume.child("ephemeral").is_set())
        .map(|volume| format!("{pod}-{}", volume.child("name").text()))
        .collect();
    for volume in field.items() {
        let claim = volume.at(&["persistentVolumeClaim", "claimName"]);
        if generated.iter().any(|name| name == claim.text()) {
            let about = "must not reference a PVC that gets created for an ephemeral volume";
            found.invalid(&claim.path, claim.text(), about);
        }
    }
}

fn source(volume: &Field<'_>, found: &mut Findings) {
    let mut count = 0;
    for (name, extra, check) in SOURCES {
        let source = volume.child(name);
        if !source.is_set() {
            continue;
        }
        count += 1;
        if count > 1 {
            let about = "may not specify more than 1 volume type";
            found.forbidden(&volume.path_to(extra), about);
        } else {
            match check {
                Check::Fields(names) => require(&source, names, found),
                Check::Own(check) => check(&source, found),
            }
        }
    }
    if count == 0 {
        found.required(&volume.path, "must specify a volume type");
    }
}

fn require(field: &Field<'_>, names: &[&str], found: &mut Findings) {
    for name in names {
        found.required_text(&field.child(name));
    }
}

fn empty_dir(field: &Field<'_>, found: &mut Findings) {
    let limit = field.child("sizeLimit");
    if limit.quantity().is_some_and(|limit| limit.is_negative()) {
        let about = "SizeLimit field must be a valid resource quantity";
        found.forbidden(&limit.path, about);
    }
}

pub fn host_path(field: &Field<'_>, found: &mut Findings) {
    let path = field.child("path");
    if path.is_empty() {
        return found.required(&path.path, "");
    }
    no_backsteps(&path, found);
    found.one_of_if_set(&field.child("type"), HOST_PATH_TYPES);
}

fn git_repo(field: &Field<'_>, found: &mut Findings) {
    found.required_text(&field.child("repository"));
    descending_path(&field.child("directory"), found);
}

pub fn nfs(field: &Field<'_>, found: &mut Findings) {
    require(field, &["server", "path"], found);
    let path = field.child("path");
    if !path.text().starts_with('/') {
        found.invalid(&path.path, path.text(), "must be an absolute path");
    }
}

fn secret(field: &Field<'_>, found: &mut Findings) {
    found.required_text(&field.child("secretName"));
    mode(&field.child("defaultMode"), found);
    keys(&field.child("items"), found);
}

fn config_map(field: &Field<'_>, found: &mut Findings) {
    found.required_text(&field.child("name"));
    mode(&field.child("defaultMode"), found);
    keys(&field.child("items"), found);
}

fn mode(field: &Field<'_>, found: &mut Findings) {
    if let Some(mode) = field.int().filter(|mode| !(0..=0o777).contains(mode)) {
        found.invalid(&field.path, &mode, MODE_TEXT);
    }
}

fn keys(field: &Field<'_>, found: &mut Findings) {
    for item in field.items() {
        found.required_text(&item.child("key"));
        let path = item.child("path");
        found.required_text(&path);
        local_path(&path, found);
        mode(&item.child("mode"), found);
    }
}

fn downward(field: &Field<'_>, found: &mut Findings) {
    mode(&field.child("defaultMode"), found);
    for item in field.child("items").items() {
        downward_item(
            &Field {
                path: field.path.clone(),
                ..item
            },
            found,
        );
    }
}

fn downward_item(item: &Field<'_>, found: &mut Findings) {
    let path = item.child("path");
    found.required_text(&path);
    local_path(&path, found);
    let (reference, resource) = (item.child("fieldRef"), item.child("resourceFieldRef"));
    if reference.is_set() {
        field_reference(&reference, VOLUME_FIELDS, found);
        if resource.is_set() {
            let about = "fieldRef and resourceFieldRef can not be specified simultaneously";
            found.invalid(&item.path, "resource", about);
        }
    } else if resource.is_set() {
        resource_reference(&resource, true, found);
    } else {
        let about = "one of fieldRef and resourceFieldRef is required";
        found.required(&item.path, about);
    }
    mode(&item.child("mode"), found);
}

fn projected(field: &Field<'_>, found: &mut Findings) {
    mode(&field.child("defaultMode"), found);
    let mut paths = HashSet::new();
    for source in field.child("sources").items() {
        let mut count = 0;
        let mut new_path = |path: &Field<'_>, shown: &str, found: &mut Findings| {
            if !path.is_empty() && !paths.insert(path.text().to_owned()) {
                found.invalid(&field.path, shown, "conflicting duplicate paths");
            }
        };
        for kind in ["secret", "configMap"] {
            let part = source.child(kind);
            if part.is_set() {
                count += 1;
                found.required_text(&part.child("name"));
                keys(&part.child("items"), found);
                for item in part.child("items").items() {
                    new_path(&item.child("path"), part.child("name").text(), found);
                }
            }
        }
        let part = source.child("downwardAPI");
        if part.is_set() {
            count += 1;
            for item in part.child("items").items() {
                downward_item(
                    &Field {
                        path: part.path.clone(),
                        ..item.clone()
                    },
                    found,
                );
                new_path(&item.child("path"), item.child("path").text(), found);
            }
        }
        let token = source.child("serviceAccountToken");
        if token.is_set() {
            count += 1;
            token_source(&token, field, found);
        }
        let bundle = source.child("clusterTrustBundle");
        if bundle.is_set() {
            count += 1;
            trust_bundle(&bundle, found);
            new_path(&bundle.child("path"), bundle.child("path").text(), found);
        }
        if count > 1 {
            let about = "may not specify more than 1 volume type per source";
            found.forbidden(&source.path, about);
        }
    }
}

fn token_source(token: &Field<'_>, volume: &Field<'_>, found: &mut Findings) {
    let expiration = token.child("expirationSeconds");
    let seconds = expiration.int().unwrap_or(0);
    if seconds < 600 {
        let about = "may not specify a duration less than 10 minutes";
        found.invalid(&expiration.path, &seconds, about);
    }
    if seconds > 1 << 32 {
        let about = "may not specify a duration larger than 2^32 seconds";
        found.invalid(&expiration.path, &seconds, about);
    }
    // Upstream's path is that of the volume.
    let path = Field {
        path: volume.path_to("path"),
        ..token.child("path")
    };
    if path.is_empty() {
        found.required(&path.path, "");
    } else {
        local_path(&path, found);
    }
}

fn trust_bundle(bundle: &Field<'_>, found: &mut Findings) {
    let (name, signer) = (bundle.child("name"), bundle.child("signerName"));
    match (name.is_set(), signer.is_set()) {
        (true, true) => {
            let about = "only one of name and signerName may be used";
            found.invalid(&bundle.path, &bundle.json(), about);
        }
        (true, false) => {
            if name.is_empty() {
                found.required(&name.path, "must be a valid object name");
            }
            let selector = bundle.child("labelSelector");
            if selector.is_set() {
                let about = "labelSelector must be unset if name is specified";
                found.invalid(&selector.path, &selector.json(), about);
            }
        }
        (false, true) => {
            if signer.is_empty() {
                found.required(&signer.path, "must be a valid signer name");
            }
            labels::label_selector(&bundle.child("labelSelector"), found);
        }
        (false, false) => {
            let about = "either name or signerName must be specified";
            found.required(&bundle.path, about);
        }
    }
    let path = bundle.child("path");
    found.required_text(&path);
    local_path(&path, found);
}

fn csi(field: &Field<'_>, found: &mut Findings) {
    driver_name(&field.child("driver"), found);
    let reference = field.child("nodePublishSecretRef");
    if reference.is_set() {
        found.required_text(&reference.child("name"));
    }
}

pub fn driver_name(field: &Field<'_>, found: &mut Findings) {
    found.required_text(field);
    if field.text().len() > 63 {
        found.too_long(&field.path, 63);
    }
    let wrong = format::dns_subdomain(&field.text().to_lowercase());
    found.invalid_each(&field.path, field.text(), wrong);
}

fn ephemeral(field: &Field<'_>, found: &mut Findings) {
    let template = field.child("volumeClaimTemplate");
    if !template.is_set() {
        return found.required(&template.path, "");
    }
    let meta = template.child("metadata");
    metadata::annotations(&meta.child("annotations"), found);
    labels::labels(&meta.child("labels"), found);
    storage::claim_spec(&template.child("spec"), found);
}

fn image(field: &Field<'_>, found: &mut Findings) {
    found.required_text(&field.child("reference"));
    let policies = &["Always", "IfNotPresent", "Never"];
    found.one_of(&field.child("pullPolicy"), policies);
}

/// Relative, and staying below.
pub fn descending_path(field: &Field<'_>, found: &mut Findings) {
    if field.text().starts_with('/') {
        found.invalid(&field.path, field.text(), "must be a relative path");
    }
    no_backsteps(field, found);
}

pub fn no_backsteps(field: &Field<'_>, found: &mut Findings) {
    if field.text().split('/').any(|part| part == "..") {
        found.invalid(&field.path, field.text(), "must not contain '..'");
    }
}

/// Below, and not where atomic writers keep their own entries.
fn local_path(field: &Field<'_>, found: &mut Findings) {
    descending_path(field, found);
    let text = field.text();
    if text.starts_with("..") && !text.starts_with("../") && text != ".." {
        found.invalid(&field.path, text, "must not start with '..'");
    }
}
